import django.core.serializers.json
import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

import serversent.notifications.models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Notification",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("text", models.TextField(verbose_name="text")),
                (
                    "level",
                    models.CharField(
                        choices=[
                            ("debug", "Debug"),
                            ("info", "Info"),
                            ("success", "Success"),
                            ("warning", "Warning"),
                            ("error", "Error"),
                        ],
                        default="info",
                        max_length=20,
                        verbose_name="level",
                    ),
                ),
                (
                    "url",
                    models.CharField(
                        blank=True,
                        default="",
                        max_length=2000,
                        validators=[serversent.notifications.models.validate_url],
                        verbose_name="URL",
                    ),
                ),
                (
                    "data",
                    models.JSONField(
                        blank=True,
                        encoder=django.core.serializers.json.DjangoJSONEncoder,
                        null=True,
                        verbose_name="data",
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="created at"),
                ),
                ("sent_at", models.DateTimeField(blank=True, editable=False, null=True, verbose_name="sent at")),
                ("read_at", models.DateTimeField(blank=True, editable=False, null=True, verbose_name="read at")),
                (
                    "sent",
                    models.GeneratedField(
                        db_persist=True,
                        expression=models.Q(("sent_at__isnull", False)),
                        output_field=models.BooleanField(),
                        verbose_name="sent",
                    ),
                ),
                (
                    "read",
                    models.GeneratedField(
                        db_persist=True,
                        expression=models.Q(("read_at__isnull", False)),
                        output_field=models.BooleanField(),
                        verbose_name="read",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="user",
                    ),
                ),
            ],
            options={
                "verbose_name": "notification",
                "verbose_name_plural": "notifications",
                "abstract": False,
                "swappable": "SERVERSENT_NOTIFICATION_MODEL",
                "indexes": [
                    models.Index(fields=["user", "id"], name="serversent__user_id_c1934a_idx"),
                    models.Index(fields=["user", "sent", "id"], name="serversent__user_id_0baf0e_idx"),
                    models.Index(fields=["user", "read", "id"], name="serversent__user_id_4b624c_idx"),
                    models.Index(fields=["created_at"], name="serversent__created_2ee3d9_idx"),
                ],
            },
        ),
    ]
