"""Prints the events of Comanda's topic, one JSON object a line, from the beginning of each
partition to its present end.

    read.py BOOTSTRAP TOPIC

Nothing here knows Comanda: Kafka is read by kafka-python, and what is a CloudEvent and what is in
it is for the CloudEvents SDK to say.
"""

import json
import sys
import time

from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event
from kafka import KafkaConsumer, TopicPartition

PATIENCE_S = 30
STANDARD = ("id", "source", "specversion", "type", "datacontenttype", "dataschema", "subject")


def records(bootstrap, topic):
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False
    )
    numbers = consumer.partitions_for_topic(topic)
    if not numbers:
        sys.exit(f"there is no topic {topic}")
    partitions = [TopicPartition(topic, number) for number in sorted(numbers)]
    consumer.assign(partitions)
    ends = consumer.end_offsets(partitions)
    give_up = time.monotonic() + PATIENCE_S
    while any(consumer.position(it) < ends[it] for it in partitions):
        if time.monotonic() > give_up:
            sys.exit(f"nothing more came for {PATIENCE_S} s, and the partitions go on")
        for batch in consumer.poll(timeout_ms=500).values():
            yield from batch
            give_up = time.monotonic() + PATIENCE_S
    consumer.close()


def described(record):
    event = from_binary_event(KafkaMessage(dict(record.headers), record.key, record.value))
    attributes = dict(event.get_attributes())
    described = {name: attributes.pop(name) for name in STANDARD if name in attributes}
    described["time"] = attributes.pop("time").isoformat()
    described["extensions"] = attributes
    described["data"] = event.get_data()
    described["partition"] = record.partition
    return described


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__.strip())
    for record in records(*sys.argv[1:]):
        print(json.dumps(described(record)))


if __name__ == "__main__":
    main()
