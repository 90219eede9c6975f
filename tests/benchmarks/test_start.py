"""What the benchmark of the start is made of, without the start itself."""

import os

import pytest
import redis

from benchmarks.decoding.catalogue import make_catalogue
from benchmarks.running.redis_process import own_redis
from benchmarks.running.service_process import cpu_seconds, status_of
from benchmarks.start import item_table
from service.contract.item_table import ItemTable


def test_the_items_of_a_release() -> None:
    table = item_table(make_catalogue(1000, seed=0), seed=0)
    again = ItemTable.from_arrays(table.arrays())
    assert (len(again), again.item_ids[7], again.titles[7]) == (1000, "item-00000007", "The title of item number 7")
    assert all(len(names) == 2 for names in again.categories)


def test_a_redis_of_its_own_ends_with_the_measurement() -> None:
    with own_redis() as url, redis.Redis.from_url(url) as client:
        assert client.ping()
        assert client.config_get("save")["save"] == ""
    with redis.Redis.from_url(url, retry=None) as client, pytest.raises(redis.ConnectionError):
        client.ping()


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="no /proc on this system")  # noqa: PTH110
def test_memory_and_processor_time_are_those_of_the_process() -> None:
    memory = status_of(os.getpid())
    assert 10 < memory["resident_mib"] <= memory["peak_mib"]
    before = cpu_seconds(os.getpid())
    assert before == pytest.approx(sum(os.times()[:2]), abs=0.1)
