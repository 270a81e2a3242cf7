"""The composition root of a worker: what there is, and how it starts, stops and fails.

Used by `__main__`.
"""

import asyncio
import logging
import os
import time
from collections.abc import (
    Callable,
    Coroutine,
    Iterator,
    Sequence,
)
from contextlib import AsyncExitStack
from functools import partial
from importlib.util import find_spec

from redis.asyncio import Redis
from uuid_utils.compat import uuid7

from ingest.contracts.placement.change import is_leaving
from ingest.contracts.placement.cluster import CLUSTERED, HOME_REMEDY, is_clustered
from ingest.contracts.placement.layout import Layout, mismatch
from ingest.contracts.placement.streams_url import place_of
from ingest.contracts.stream import SHARDS_CHANGE_KEY, SHARDS_KEY
from ingest.contracts.telemetry import Log
from ingest.contracts.traces.extra import is_installed
from ingest.contracts.variables import SettingsError
from workers.enrich import build_enrichers
from workers.jobs.archive_service import Archive, segment_fetcher
from workers.jobs.arq_host import keep_arq
from workers.jobs.schedule import Jobs
from workers.pipeline.pipeline import Pipeline
from workers.pipeline.spans import SpanTraces
from workers.pipeline.traces import NO_TRACES, Traces
from workers.postgres.database import Pool, open_pool, pool_size
from workers.postgres.schema import require_schema
from workers.process.admin import serve_admin
from workers.process.failpoint import CrashingRecorder, boundary
from workers.process.installation_metrics import InstallationSampler
from workers.process.lifecycle import (
    Lifecycle,
    StoppedBeforeStart,
    retry_until_started,
    supervise,
    tune_gc,
)
from workers.process.startup_check import keep_checking
from workers.publish.retention import Retention
from workers.quarantine.budget import QuarantineBudget
from workers.quarantine.circuit_breaker import CircuitBreaker, keep_refreshing
from workers.redis_io.connections import (
    for_jobs,
    for_reader,
    redis_errors,
)
from workers.redis_io.streams import stream_servers, streams_redis
from workers.redrive.job import RedriveJob
from workers.replay.job import ReplayJob
from workers.replay.sources import ReplaySources
from workers.settings import Settings
from workers.stream.consumer import Consumer, backoff
from workers.stream.consumer_names import consumer_name
from workers.stream.epochs import current_epoch
from workers.stream.heartbeat import send_heartbeats
from workers.stream.poison_pill import PoisonPillIsolation
from workers.stream.shard import ReaderConfig, ShardReader


def run(settings: Settings) -> int:
    """Run one worker until it is told to stop; its exit code. Raises SettingsError."""
    # What concerns us reaches us as exceptions.
    for library in ("arq", "asyncpg"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    with (
        consumer_name(settings) as name,
        asyncio.Runner(loop_factory=_loop_factory()) as runner,
    ):
        return runner.run(_live(settings, name))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if find_spec("uvloop") is None:
        return None
    import uvloop  # noqa: PLC0415 -- where there is one

    return uvloop.new_event_loop


async def _live(settings: Settings, name: str) -> int:
    log = Log(consumer=name)
    life = Lifecycle(log)
    life.listen()
    async with AsyncExitStack() as stack:
        admin = serve_admin(
            settings.admin, life.problem, lambda: {"name": name, **life.sampled}
        )
        await stack.enter_async_context(admin)
        home = for_jobs(settings.redis_url)
        redis, readers = (
            streams_redis(home, settings.placement, for_jobs),
            _readers(settings),
        )
        for client in (redis, *readers):
            stack.push_async_callback(client.aclose)
        opening = partial(
            open_pool,
            settings.database_url,
            size=pool_size(len(settings.shards)),
            is_pooled=settings.is_pooled,
        )
        try:
            await retry_until_started(
                lambda: _agree_on_shards(redis, settings.layout), life, log
            )
            pool = await retry_until_started(
                lambda: stack.enter_async_context(opening()), life, log
            )
            await retry_until_started(lambda: require_schema(pool), life, log)
        except StoppedBeforeStart:
            return 0
        pipeline = _pipeline(settings, name, pool, _traces(settings, stack))
        breaker = life.breaker = CircuitBreaker(pool, name, pipeline.limit)
        life.consumer = _consumer(settings, pipeline, redis, readers, life)
        tune_gc()
        log.info("worker.started", shards=len(settings.shards))
        siblings = [
            keep_refreshing(breaker, life.stop),
            life.consumer.run(),
            *_siblings(settings, pipeline, redis, life),
        ]
        is_clean = await supervise(siblings, pool, life)
        log.info("worker.stopped", abandoned=not is_clean)
        if not is_clean:
            # What was committed is committed, and the rest is pending.
            os._exit(int(life.has_failed))
    return int(life.has_failed)


def _traces(settings: Settings, stack: AsyncExitStack) -> Traces:
    """What traces batches, until the stack is closed."""
    if settings.tracing is None or not is_installed():
        return NO_TRACES
    # Needs the libraries of the extra.
    from ingest.contracts.traces.export import SpanExport  # noqa: PLC0415

    export = SpanExport("reftide-worker")
    stack.push_async_callback(asyncio.to_thread, export.close)
    return SpanTraces(export.send)


def _pipeline(settings: Settings, name: str, pool: Pool, traces: Traces) -> Pipeline:
    return Pipeline(
        pool=pool,
        enrich=build_enrichers(settings.geo_file),
        consumer=name,
        clock=_unix_ms,
        new_id=uuid7,
        keep_ip=settings.store_ip == "full",
        store_email=settings.store_email,
        traces=traces,
        boundary=boundary(settings),
        budget=QuarantineBudget(settings.quarantine_rows),
    )


def _consumer(
    settings: Settings,
    pipeline: Pipeline,
    redis: Redis,
    readers: Sequence[Redis],
    life: Lifecycle,
) -> Consumer:
    config = ReaderConfig(
        name=pipeline.consumer,
        batch_size=settings.batch_size,
        gather_seconds=settings.gather_ms / 1000,
    )
    epoch_of = partial(current_epoch, pipeline.pool)
    # Where tests want the worker to die over an event, a mortal one.
    event_id = settings.crash_over
    recorder = pipeline if event_id is None else CrashingRecorder(pipeline, event_id)
    return Consumer(
        [
            ShardReader(each, shard, config, epoch_of, _place(settings, index))
            for index, (shard, each) in enumerate(
                zip(settings.shards, readers, strict=True)
            )
        ],
        PoisonPillIsolation(recorder, redis, pipeline.pool),
        config,
        stop=life.stop,
        breaker=life.breaker,
    )


def _siblings(
    settings: Settings, pipeline: Pipeline, redis: Redis, life: Lifecycle
) -> Iterator[Coroutine[None, None, None]]:
    """What runs beside the consumer, all of it until the worker stops."""
    name, pool, stop = pipeline.consumer, pipeline.pool, life.stop
    shards, archive = settings.shards, settings.archive
    yield send_heartbeats(redis, name, settings.layout, stop)
    yield keep_checking(pool, redis, settings, _unix_ms, stop)
    if settings.admin.port:
        sampler = InstallationSampler(
            pool=pool,
            redis=redis,
            shards=shards,
            clock=_unix_ms,
            quarantine_rows=settings.quarantine_rows,
        )
        life.sampled = sampler.status
        yield sampler.keep_sampling(stop)
    if archive is not None:
        tasks = Archive(
            redis=redis,
            pool=pool,
            owner=name,
            settings=archive,
            stop=stop,
            boundary=boundary(settings),
        )
        yield tasks.run(shards, _unix_ms)
    directory = archive.directory if archive else None
    sources = ReplaySources(redis, directory, segment_fetcher(archive))
    # What arq runs: jobs by the clock; replays and redrives, which take their time.
    for work in (
        Jobs(
            pool,
            redis,
            settings.layout,
            keep_hours=settings.keep_hours,
            quarantine_days=settings.quarantine_days,
            kept=Retention(settings.customer_keep_days, settings.day_seconds),
        ),
        ReplayJob(pipeline, sources),
        RedriveJob(pipeline),
    ):
        yield keep_arq(work, settings.arq_redis_url, stop, backoff)


def _readers(settings: Settings) -> Sequence[Redis]:
    """A client for each shard."""
    urls, is_cluster = settings.streams
    if is_cluster:
        return [each.client for each in stream_servers(settings.placement, for_reader)]
    urls = urls or (settings.redis_url,)
    return [for_reader(urls[at % len(urls)]) for at in range(len(settings.shards))]


def _place(settings: Settings, index: int) -> bytes | None:
    """What a shard's server is in the list of servers; None if there is no list."""
    urls, is_cluster = settings.streams
    has_places = bool(urls) and not is_cluster
    return place_of(index % len(urls), len(urls)) if has_places else None


async def _agree_on_shards(redis: Redis, layout: Layout) -> None:
    """Make sure that every process of the installation means the same shards.

    While these change, a worker may have the former ones, which may still have entries.

    Raises SettingsError, also where Redis is a cluster, and TransientError.
    """
    with redis_errors():
        if is_clustered(await redis.info("server")):
            raise SettingsError(f"Redis cannot be used: {CLUSTERED}: {HOME_REMEDY}")
        async with redis.pipeline(transaction=False) as pipe:
            pipe.set(SHARDS_KEY, layout.record, nx=True)
            pipe.mget(SHARDS_KEY, SHARDS_CHANGE_KEY)
            _, (agreed, change) = await pipe.execute()
    if agreed != layout.record and not is_leaving(layout, change):
        raise SettingsError(mismatch(agreed, layout.record))


def _unix_ms() -> int:
    return time.time_ns() // 1_000_000
