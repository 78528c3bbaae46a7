"""A writing process for the fault tests: transactions with events, some rolled back, until it is done or killed.

Its standard output says, line by line, what was committed for certain. A line that is missing may still have been
committed: the process may have been killed in between.
"""

import json
import os
import random
import sys

import django

django.setup()

from django.db import transaction  # noqa: E402

from serversent import send_event  # noqa: E402


def main(name: str, count: int, channels: int, seed: int) -> None:
    rng = random.Random(seed)
    number = 0
    while number < count:
        batch = [
            (f"c{rng.randrange(channels)}", f"{name}:{number + extra}") for extra in range(rng.choice((1, 1, 2, 3)))
        ]
        fails = rng.random() < 0.1
        try:
            with transaction.atomic():
                for channel, text in batch:
                    send_event(channel, text + (":rolled-back" if fails else ""))
                if fails:
                    raise ValueError
        except ValueError:
            pass
        else:
            print(json.dumps(batch), flush=True)
        number += len(batch)
    print("done", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(os.environ.get("SEED", "0")))
