"""Handlers that do what no replay can repeat, and some that only look so. Never run, only read.

In a `wrong_…` handler each line that must be found ends with the beginning of what is said of it.
"""

# What the linter warns of here is what the check must find.
# ruff: noqa: ASYNC210, ASYNC221, ASYNC230, ASYNC240, ASYNC251, F402, PTH110, PTH118, PTH123, PTH208, S607, SIM115

from __future__ import annotations

import asyncio
import datetime as dates
import os
import random
import secrets
import socket
import subprocess
import threading
import time
import uuid
from asyncio import as_completed, wait
from datetime import date, timedelta
from datetime import datetime as dt
from pathlib import Path
from random import choice
from typing import Any
from urllib import request
from urllib.parse import urlencode

from asgiref.sync import sync_to_async
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.contenttypes.models import ContentType
from django.core.cache import cache, caches
from django.core.mail import send_mail
from django.db import connection, connections, transaction
from django.shortcuts import get_object_or_404
from django.utils import timezone

from django_workflow.handler.functions import action, mutation, query

DICE = random.Random(7)
FOLDER = Path("inbox")


@action
def charge(order_id: int) -> str:
    return secrets.token_hex() + str(time.time())


@query
def total(order_id: int) -> int:
    return ContentType.objects.count()


@mutation
def reserve(order_id: int) -> None:
    ContentType.objects.create(app_label="a", model=str(order_id))


async def wrong_clock(step: Any) -> None:
    dt.now()  # dt.now() reads the clock
    dates.datetime.utcnow()  # dates.datetime.utcnow() reads the clock
    dates.date.today()  # dates.date.today() reads the clock
    date.today()  # date.today() reads the clock
    timezone.now()  # timezone.now() reads the clock
    timezone.localtime()  # timezone.localtime() reads the clock
    time.time()  # time.time() reads the clock
    time.monotonic_ns()  # time.monotonic_ns() reads the clock
    time.localtime()  # time.localtime() reads the clock
    time.sleep(1)  # time.sleep() blocks the worker


async def wrong_dice(step: Any, items: list[int]) -> None:
    random.random()  # random.random() throws dice
    random.shuffle(items)  # random.shuffle() throws dice
    choice(items)  # choice() throws dice
    DICE.random()  # DICE.random() throws dice
    random.Random()  # random.Random() throws dice
    uuid.uuid4()  # uuid.uuid4() throws dice
    secrets.token_hex()  # secrets.token_hex() makes up a secret
    os.urandom(8)  # os.urandom() makes up a secret
    hash("order")  # hash() gives another number in every process
    id(items)  # id() gives another number in every process


async def wrong_world(step: Any) -> None:
    request.urlopen("http://example.org")  # request.urlopen() uses the network
    socket.create_connection(("example.org", 80))  # socket.create_connection() uses the network
    await asyncio.open_connection("example.org", 80)  # asyncio.open_connection() uses the network
    send_mail("a", "b", "c", ["d"])  # send_mail() sends mail
    cache.get("key")  # cache.get() uses the cache
    caches["default"].set("key", 1)  # caches['default'].set() uses the cache
    subprocess.run(["ls"], check=True)  # subprocess.run() starts a process
    await asyncio.create_subprocess_exec("ls")  # asyncio.create_subprocess_exec() starts a process
    await asyncio.to_thread(total, 1)  # asyncio.to_thread() leaves the handler for a thread
    threading.Thread(target=total)  # threading.Thread() leaves the handler for a thread
    await sync_to_async(total)(1)  # sync_to_async() leaves the handler for a thread


async def wrong_files(step: Any) -> None:
    open("list.txt")  # open() uses files
    os.listdir(".")  # os.listdir() uses files
    os.path.exists("list.txt")  # os.path.exists() uses files
    Path("list.txt").read_text()  # Path('list.txt').read_text() uses files
    FOLDER.iterdir()  # FOLDER.iterdir() uses files
    os.getenv("HOME")  # os.getenv() reads the environment
    os.environ.get("HOME")  # os.environ.get() reads the environment
    os.environ["HOME"]  # os.environ['HOME'] reads the environment


async def wrong_database(step: Any) -> None:
    ContentType.objects.get(pk=1)  # ContentType.objects.get() uses the database
    await ContentType.objects.acount()  # ContentType.objects.acount() uses the database
    rows = ContentType.objects.filter(pk=1).order_by("pk")  # ContentType.objects.filter() uses the database
    async for each in rows:
        await asyncio.sleep(each.pk)
    row = ContentType(app_label="a", model="b")
    row.save()  # row.save() uses the database
    await row.asave()  # row.asave() uses the database
    get_object_or_404(ContentType, pk=1)  # get_object_or_404() uses the database
    connection.cursor()  # connection.cursor() uses the database
    connections["default"].cursor()  # connections['default'].cursor() uses the database
    transaction.on_commit(print)  # transaction.on_commit() uses the database


async def wrong_order(step: Any, names: list[str]) -> None:
    tasks = [asyncio.create_task(step.sleep(1))]
    await wait(tasks)  # wait() takes its answers in no fixed order
    for each in as_completed(tasks):  # as_completed() takes its answers in no fixed order
        await each
    for name in set(names):  # A loop over set(names) goes through a set
        await step.run_query(total, name)
    unique = frozenset(names)
    for name in unique:  # A loop over unique goes through a set
        await step.run_query(total, name)
    steps = [step.run_query(total, name) for name in {"a", "b"}]  # A loop over {'a', 'b'} goes through
    await asyncio.gather(*steps)


async def wrong_calls(step: Any) -> None:
    charge(1)  # charge() is called directly
    total(order_id=1)  # total() is called directly
    reserve(1)  # reserve() is called directly


async def wrong_inside(step: Any) -> None:
    async def branch() -> None:
        import random as fate
        from random import randint
        from time import time as seconds

        fate.random()  # fate.random() throws dice
        randint(1, 2)  # randint() throws dice
        seconds()  # seconds() reads the clock

    now = time.time
    now()  # now() reads the clock
    (lambda: now())()  # now() reads the clock
    await branch()
    await helper(step)


async def helper(step: Any) -> None:
    await step.sleep(1)
    stamp()


def stamp() -> float:
    return time.time()


async def wrong_packages(step: Any) -> None:
    import httpx  # type: ignore[import-not-found,unused-ignore]
    from aiohttp import ClientSession  # type: ignore[import-not-found,unused-ignore]

    async with httpx.AsyncClient() as client:  # httpx.AsyncClient() uses the network
        await client.get("http://example.org")
    ClientSession().get("http://example.org")  # ClientSession() uses the network


async def right(step: Any, order_id: int, deadline: dates.datetime, names: list[str]) -> str:
    now = step.now()
    rng = random.Random(order_id)
    number = rng.randint(1, 6) + step.random.randint(1, 6)
    key, other = step.uuid4(), uuid.UUID(int=order_id)
    count = await step.run_query(total, order_id)
    receipt: str = await step.run_action(charge, order_id)
    await step.run_action(request.urlopen, "http://example.org")
    await step.run_mutation(reserve, order_id)
    await asyncio.gather(*(step.sleep(seconds) for seconds in range(3)))
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(step.sleep(timedelta(days=1)))
    await asyncio.sleep(1)
    for name in sorted(set(names)):
        step.logger.info("%s %s", name, os.path.join("a", name))
    for size in {1, 2, 3}:
        step.set_status({"size": size})
    row = ContentType(app_label="a", model="b")
    path = Path("in") / row.app_label
    if dt(2020, 1, 1) < now < deadline < dt.fromisoformat("2050-01-01"):
        raise socket.gaierror(f"{key} {other} {number} {count} {path} {urlencode({})}")
    time.strftime("%Y", time.gmtime(0))
    return receipt


async def right_by_its_own_names(step: Any, time: Any, cache: Any, open: Any) -> None:
    time.time()
    cache.get("key")
    open("list.txt")
    for random in step.things:
        random.random()
    uuid = step.maker
    uuid.uuid4()
    clock = time
    clock = clock.other
    clock.time()
    from . import test_conf as secrets

    secrets.token_hex()  # type: ignore[attr-defined]


async def right_by_pattern(step: Any) -> None:
    match await step.run_query(total, 1):
        case {"clock": time, **random}:
            time.time(random.random())  # type: ignore[attr-defined]
        case [choice, *uuid]:
            choice(uuid.uuid4())  # type: ignore[attr-defined]
    try:
        subprocess = step
    except ValueError as threading:
        threading.Thread(subprocess.run())  # type: ignore[attr-defined,possibly-undefined]


async def right_where_nothing_is_certain(step: Any) -> None:
    AbstractBaseUser.objects.get(pk=1)  # type: ignore[attr-defined]  # an abstract model has no manager: asking for it raises
    step.things[0].time()
    now = step.now
    if step.things:
        now = time.time
    now()
    total.cache_clear()  # type: ignore[attr-defined]


async def right_by_comment(step: Any) -> None:
    os.getenv("COLOUR")  # workflow: deterministic
    dt.now(
        tz=None,
    )  # workflow: deterministic (the test replaces it)
