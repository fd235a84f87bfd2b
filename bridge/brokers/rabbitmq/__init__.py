"""RabbitMQ, through aiormq: shard queues, confirms, and a publisher that writes in groups."""

from bridge.brokers.rabbitmq.broker import RabbitBroker

__all__ = ["RabbitBroker"]
