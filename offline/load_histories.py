"""Write a dataset's histories into Redis, where the service reads them."""

import redis

from offline import progress
from offline.dataset import Dataset
from service.contract.redis_keys import HISTORY_CAP, RedisKeys

PIPELINE_USERS = 100
"""Replaced in one transaction: a service never sees a user without history, and Redis is held for milliseconds."""


def load_histories(dataset: Dataset, client: redis.Redis, keys: RedisKeys) -> int:
    """Replace the history and the seen set of every user of the dataset; returns how many users.

    The history is what the user did in every split, newest first, at most `HISTORY_CAP` items. Without time the order
    is that of the files and means nothing; the score of a seen item is its place in that order.
    """
    histories = dataset.full_history()
    with progress.task("load histories", dataset.num_users) as task:
        for start in range(0, dataset.num_users, PIPELINE_USERS):
            pipeline = client.pipeline(transaction=True)
            users = range(start, min(start + PIPELINE_USERS, dataset.num_users))
            for user in users:
                item_ids = [dataset.item_ids[row] for row in histories.of(user)]
                history, seen = keys.history(dataset.user_ids[user]), keys.seen(dataset.user_ids[user])
                pipeline.delete(history, seen)
                if item_ids:
                    pipeline.rpush(history, *item_ids[::-1][:HISTORY_CAP])
                    pipeline.zadd(seen, {item_id: place for place, item_id in enumerate(item_ids)})
            pipeline.execute()
            task.advance(steps=len(users))
    return dataset.num_users
