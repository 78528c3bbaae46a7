"""A column that says whether a moment is there, which the database keeps."""

from datetime import datetime
from typing import Any

from django.db import models
from django.utils import timezone

__all__ = ["Flag"]


class _Descriptor:
    """Reads from the moment, and sets it: ``True`` is now, unless it is set already; ``False`` is none."""

    def __init__(self, field: "Flag") -> None:
        self._moment = field.moment

    def __get__(self, instance: models.Model | None, owner: type) -> Any:
        return self if instance is None else getattr(instance, self._moment) is not None

    def __set__(self, instance: models.Model, value: object) -> None:
        if instance._state.adding and self._moment not in instance.__dict__:
            return  # it is being loaded, and the moment is not
        moment: datetime | None = getattr(instance, self._moment)
        if bool(value) != (moment is not None):
            setattr(instance, self._moment, timezone.now() if value else None)


class Flag(models.GeneratedField):
    """A boolean column for queries, generated from a time that may be NULL.

    Django's generated fields can only be read; this one can also be passed to the constructor, and set.
    """

    descriptor_class = _Descriptor

    def __init__(self, moment: str, verbose_name: Any = None) -> None:
        self.moment = moment
        super().__init__(
            expression=models.Q((f"{moment}__isnull", False)),  # type: ignore[arg-type]
            output_field=models.BooleanField(),
            db_persist=True,
            verbose_name=verbose_name,
        )

    def deconstruct(self) -> Any:
        """A migration has an ordinary generated field."""
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.GeneratedField", args, kwargs

    def clone(self) -> "Flag":
        return Flag(self.moment, self.verbose_name)
