"""A coroutine that is begun without a task, and goes on in whoever awaits the rest."""

import asyncio
import contextlib

import pytest

from serversent.concurrency.tasks import run_eagerly


async def test_a_coroutine_that_never_waits_runs_without_a_task():
    async def run(found):
        found.append(1)

    found = []
    assert run_eagerly(run(found)) is None
    assert found == [1]


async def test_an_error_before_the_first_wait_is_raised_at_once():
    async def fail():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        run_eagerly(fail())


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_the_rest_goes_on_where_it_is_awaited(moment):
    order = []
    gate = asyncio.get_running_loop().create_future()

    async def run():
        order.append("begun")
        order.append(await gate)
        await asyncio.sleep(0)
        async with asyncio.timeout(10):
            await asyncio.sleep(0.001)
        order.append("ended")

    rest = run_eagerly(run())
    order.append("left")
    if moment == "before":
        gate.set_result("gate")
    task = asyncio.create_task(_await(rest))
    await asyncio.sleep(0)
    if moment == "after":
        gate.set_result("gate")
    await task
    assert order == ["begun", "left", "gate", "ended"]


async def test_an_error_of_the_awaited_future_arrives_in_the_coroutine():
    gate = asyncio.get_running_loop().create_future()
    seen = []

    async def run():
        try:
            await gate
        except ValueError as error:
            seen.append(error)
            raise

    rest = run_eagerly(run())
    gate.set_exception(ValueError("gone"))
    with pytest.raises(ValueError, match="gone"):
        await rest
    assert len(seen) == 1


async def test_a_cancellation_of_the_awaiting_task_arrives_in_the_coroutine():
    closed = []

    async def run():
        try:
            await asyncio.sleep(60)
        finally:
            closed.append(1)

    task = asyncio.create_task(_await(run_eagerly(run())))
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert closed == [1]


async def _await(rest):
    await rest
