"""Programs of the notifications' crowd: ``users COUNT`` makes users and sessions; ``send SEED COUNT`` notifies them.

What is committed is printed, a line each: the user's key, and the text.
"""

import random
import sys
from importlib import import_module

import django
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.db import transaction

django.setup()

from serversent.notifications import send_notification  # noqa: E402

NAME = "crowd-{}"


def users(count):
    store = import_module(settings.SESSION_ENGINE).SessionStore
    for number in range(count):
        user = get_user_model().objects.create(username=NAME.format(number))
        session = store()
        session[SESSION_KEY] = str(user.pk)
        session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
        session[HASH_SESSION_KEY] = user.get_session_auth_hash()
        session.create()
        print(user.pk, session.session_key)


def send(seed, count):
    rng = random.Random(seed)
    keys = list(get_user_model().objects.filter(username__startswith=NAME.format("")).values_list("pk", flat=True))
    number = 0
    while number < count:
        committed = []
        with transaction.atomic():
            for _ in range(rng.choice([1, 1, 1, 2, 5])):
                number += 1
                some = rng.sample(keys, 10) if rng.random() < 0.05 else [rng.choice(keys)]
                with transaction.atomic():
                    send_notification(some, f"{seed} {number}")
                    savepoint_is_lost = rng.random() < 0.1
                    transaction.set_rollback(savepoint_is_lost)
                if not savepoint_is_lost:
                    committed += [(key, f"{seed} {number}") for key in some]
            is_lost = rng.random() < 0.2
            transaction.set_rollback(is_lost)
        if not is_lost:
            for key, text in committed:
                print(key, text, flush=False)
    sys.stdout.flush()


if __name__ == "__main__":
    {"users": users, "send": send}[sys.argv[1]](*map(int, sys.argv[2:]))
