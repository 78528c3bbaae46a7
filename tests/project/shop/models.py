"""A project's own notifications."""

from django.db import models

from serversent.notifications.models import AbstractNotification


class Notice(AbstractNotification):
    category = models.CharField(max_length=20, default="")

    def payload(self):
        return {**super().payload(), "category": self.category}
