"""Apache Kafka, through aiokafka: topics, consumer groups, and a publisher that groups writes."""

from bridge.brokers.kafka.broker import KafkaBroker

__all__ = ["KafkaBroker"]
