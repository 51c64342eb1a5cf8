"""All metrics in one place: what an operator alerts on. Names and labels are an interface; nothing else defines any."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

READINGS_RECEIVED = Counter("headend_readings_received_total", "Readings decoded from the field", ["source"])
READINGS_STORED = Counter("headend_readings_stored_total", "Readings committed", ["source"])
READINGS_DUPLICATE = Counter("headend_readings_duplicate_total", "Readings that were stored already", ["source"])
READINGS_REVISED = Counter("headend_readings_revised_total", "Same meter and instant, another value", ["source"])
READINGS_COMPLETED = Counter(
    "headend_readings_completed_total", "Stored readings that another message added a missing value to", ["source"]
)
QUARANTINED = Counter(
    "headend_quarantined_total", "Messages kept whole because they could not be understood", ["source", "reason"]
)
UPLOADS_CONFIRMED = Counter("headend_uploads_confirmed_total", "Concentrator uploads confirmed after commit")
FLUSH_SECONDS = Histogram(
    "headend_flush_seconds",
    "Writing one batch, commit included",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
UNACKED_MESSAGES = Gauge(
    "headend_unacked_messages", "Messages received and not yet committed", multiprocess_mode="livesum"
)
MQTT_CONNECTED = Gauge("headend_mqtt_connected", "Sessions with the broker that stand", multiprocess_mode="livesum")
MQTT_OVERFLOW = Counter(
    "headend_mqtt_overflow_total", "Messages not taken because too many waited: sent again, or QoS 0 and lost", ["qos"]
)
MODBUS_READS = Counter("headend_modbus_reads_total", "Meter reads over Modbus", ["outcome"])
MODBUS_ROUND_SECONDS = Histogram(
    "headend_modbus_round_seconds",
    "One polling round of one bus",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
MODBUS_TICKS_MISSED = Counter(
    "headend_modbus_ticks_missed_total", "Polling rounds of a bus that did not take place", ["reason"]
)
MODBUS_HELD_READINGS = Gauge(
    "headend_modbus_held_readings", "Polled readings that wait for the database", multiprocess_mode="livesum"
)
DEVICE_REQUESTS = Counter("headend_device_requests_total", "Live reads that somebody wanted", ["outcome"])
STORE_ERRORS = Counter("headend_store_errors_total", "Database errors met and retried, by class", ["kind"])
SETTLED_DAYS = Counter("headend_settled_area_days_total", "Area-days settled and balanced")
FINDINGS_OPENED = Counter("headend_findings_opened_total", "Findings opened", ["kind"])
BATCHES_CREATED = Counter("headend_billing_batches_created_total", "Billing batches made")
BATCH_PUSHES = Counter("headend_billing_pushes_total", "Pushes to the billing import endpoint", ["outcome"])
HTTP_REQUESTS = Counter("headend_http_requests_total", "HTTP requests answered", ["route", "status"])
HTTP_SECONDS = Histogram(
    "headend_http_request_seconds",
    "Answering one HTTP request, streaming included",
    ["route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
ROLLOUT_REFUSED = Counter("headend_rollout_steps_refused_total", "Rollout steps refused", ["reason"])
ROLE_FAILURES = Counter("headend_role_failures_total", "A role's loop failed and was started again", ["role"])
