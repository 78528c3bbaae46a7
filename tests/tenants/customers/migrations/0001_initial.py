from django.db import migrations, models

KEY = ("id", models.BigAutoField(primary_key=True))


class Migration(migrations.Migration):
    operations = [
        migrations.CreateModel("Client", [KEY, ("schema_name", models.CharField(max_length=63, unique=True))]),
        migrations.CreateModel(
            "Domain",
            [
                KEY,
                ("domain", models.CharField(max_length=253, unique=True)),
                ("is_primary", models.BooleanField(default=True)),
                ("tenant", models.ForeignKey("customers.Client", models.CASCADE, related_name="domains")),
            ],
        ),
    ]
