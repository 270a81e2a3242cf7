"""What workers make of that which others may have put into Redis."""

import pickle

import orjson
import pytest

from workers.redis_io.connections import for_arq

RUN: list[str] = []


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return RUN.append, ("it ran",)


async def test_nothing_in_redis_is_run_as_code() -> None:
    pool = for_arq("redis://127.0.0.1:1")
    assert pool.job_deserializer is not None

    with pytest.raises(orjson.JSONDecodeError):
        pool.job_deserializer(pickle.dumps(Bomb()))

    await pool.aclose()
    assert [] == RUN
