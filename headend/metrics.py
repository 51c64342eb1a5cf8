"""All metrics in one place: what an operator alerts on. Names and labels are an interface; nothing else defines any."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily

READINGS_RECEIVED = Counter("headend_readings_received_total", "Readings decoded from the field", ["source"])
READINGS_STORED = Counter("headend_readings_stored_total", "Readings committed", ["source"])
READINGS_DUPLICATE = Counter("headend_readings_duplicate_total", "Readings that were stored already", ["source"])
READINGS_REVISED = Counter("headend_readings_revised_total", "Same meter and instant, another value", ["source"])
READINGS_LATE = Counter(
    "headend_readings_late_total", "Readings stored that are older than their meter's newest one was", ["source"]
)
READINGS_COMPLETED = Counter(
    "headend_readings_completed_total", "Stored readings that another message added a missing value to", ["source"]
)
QUARANTINED = Counter(
    "headend_quarantined_total", "Messages kept whole because they could not be understood", ["source", "reason"]
)
QUARANTINE_GIVEN_UP = Counter(
    "headend_quarantine_given_up_total",
    "Messages that the quarantine did not keep: their origin had filled its share, the whole was full, or too old",
    ["reason", "why"],
)
QUARANTINE_OPEN = Gauge(
    "headend_quarantine_open_messages", "Open messages in the quarantine", ["reason"], multiprocess_mode="mostrecent"
)
QUARANTINE_OPEN_BYTES = Gauge(
    "headend_quarantine_open_bytes", "Their payloads", ["reason"], multiprocess_mode="mostrecent"
)
EVENTS = Counter("headend_device_events_total", "Events stored: told by a device, or seen in what it sent", ["kind"])
DISCOVERED = Counter("headend_discovered_devices_total", "Devices that spoke without having been imported, first time")
UPLOADS_CONFIRMED = Counter("headend_uploads_confirmed_total", "Concentrator uploads confirmed after commit")
FLUSH_SECONDS = Histogram(
    "headend_flush_seconds",
    "Writing one batch, commit included",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
UNACKED_MESSAGES = Gauge(
    "headend_unacked_messages", "Messages received and not yet committed", multiprocess_mode="livesum"
)
UNACKED_BYTES = Gauge("headend_unacked_bytes", "Their payloads", multiprocess_mode="livesum")
MQTT_RECEIVED = Counter("headend_mqtt_messages_total", "MQTT messages taken, redelivered ones each time")
MQTT_CONNECTED = Gauge("headend_mqtt_connected", "Sessions with the broker that stand", multiprocess_mode="livesum")
MQTT_OVERFLOW = Counter(
    "headend_mqtt_overflow_total", "Messages not taken because too many waited: sent again, or QoS 0 and lost", ["qos"]
)
MQTT_IGNORED = Counter(
    "headend_mqtt_ignored_total", "Messages that were understood and have nothing in them for us", ["reason"]
)
MQTT_TAKEOVERS = Counter(
    "headend_mqtt_takeovers_total",
    "Sessions of another ingest process of the share group that were taken over",
    ["outcome"],
)
MODBUS_READS = Counter("headend_modbus_reads_total", "Meter reads over Modbus", ["outcome"])
MODBUS_STATUS_READS = Counter("headend_modbus_status_reads_total", "Reads of meters' status registers", ["outcome"])
MODBUS_ROUND_SECONDS = Histogram(
    "headend_modbus_round_seconds",
    "One polling round of one bus",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
MODBUS_TICKS_MISSED = Counter(
    "headend_modbus_ticks_missed_total", "Polling rounds of a bus that did not take place", ["reason"]
)
MODBUS_AREA_METERS_AGAIN = Counter(
    "headend_modbus_area_meters_again_total", "Area meters asked again at the end of their area, which took long"
)
MODBUS_REFUSALS_FOUND = Counter(
    "headend_modbus_refusals_found_total", "Register ranges that a meter was found to refuse, or refused once more"
)
PROFILE_GAPS = Counter(
    "headend_profile_gaps_total", "Gaps of meters that store a profile: noted, closed, given up", ["outcome"]
)
PROFILE_RECORDS = Counter(
    "headend_profile_records_total", "Records read back from stored profiles: believed, refused", ["outcome"]
)
DIALIN_MODEMS = Gauge(
    "headend_dialin_modems", "Modems that have dialled in and are connected", multiprocess_mode="livesum"
)
DIALIN_REFUSED = Counter("headend_dialin_refused_total", "Dialled-in connections turned away", ["reason"])
MODBUS_HELD_READINGS = Gauge(
    "headend_modbus_held_readings", "Polled readings that wait for the database", multiprocess_mode="livesum"
)
SPOOL_READINGS = Gauge(
    "headend_spool_readings", "Polled readings on disk that wait for the database", multiprocess_mode="livesum"
)
SPOOL_BYTES = Gauge("headend_spool_bytes", "What the spool takes of the disk", multiprocess_mode="livesum")
SPOOL_OLDEST_SECONDS = Gauge(
    "headend_spool_oldest_seconds", "How long ago the oldest spooled round began", multiprocess_mode="livemax"
)
SPOOL_GIVEN_UP = Counter(
    "headend_spool_given_up_total",
    "Readings given up by a full spool: a stored profile tells them again, between two kept ones, of the oldest rounds",
    ["class"],
)
SPOOL_ERRORS = Counter(
    "headend_spool_errors_total", "What the spool's disk failed to do, and records that it spoilt", ["kind"]
)
DEVICE_REQUESTS = Counter("headend_device_requests_total", "Live reads that somebody wanted", ["outcome"])
COMMANDS = Counter("headend_commands_total", "Commands to meters that came to their end", ["kind", "outcome"])
COMMANDS_NOT_TAKEN = Counter(
    "headend_commands_not_taken_total", "Commands refused when they were asked for", ["kind", "reason"]
)
TOPOLOGY_CHANGES = Counter(
    "headend_topology_changes_total", "Changes and corrections of what hangs where, asked for", ["kind", "outcome"]
)
CLOCK_READS = Counter("headend_clock_reads_total", "Reads of meters' clocks", ["outcome"])
CLOCK_OFFSET_SECONDS = Histogram(
    "headend_clock_offset_seconds",
    "How far meters' clocks were off, either way",
    buckets=(0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600, 86400),
)
STORE_ERRORS = Counter("headend_store_errors_total", "Database errors met and retried, by class", ["kind"])
SETTLED_DAYS = Counter("headend_settled_area_days_total", "Area-days settled and balanced")
SETTLE_SECONDS = Histogram(
    "headend_settle_seconds",
    "Settling and balancing days of one area, commit included: yesterday and today, or older ones",
    ["age"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
SETTLE_FAILURES = Counter("headend_settle_failures_total", "Areas that could not be settled and are tried again")
RECONCILED_AREAS = Counter(
    "headend_reconciled_areas_total", "Areas screened, and of them those that stood out and were explained", ["step"]
)
RECONCILE_SECONDS = Histogram(
    "headend_reconcile_seconds",
    "The engine's time for one station: screening all its areas, explaining what stands out",
    ["step"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
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
CHORES = Counter("headend_chores_total", "Chores of the role upkeep, by how they ended", ["chore", "outcome"])
HEARTBEATS_SKIPPED = Counter("headend_heartbeats_skipped_total", "Heartbeats that the database did not take")
ROLE_FAILURES = Counter("headend_role_failures_total", "A role's loop failed and was started again", ["role"])


@dataclass(frozen=True, slots=True)
class AskedGauge:
    """A fact of the store and not of a process: asked for at each scrape by role web, so that it is never stale."""

    name: str
    documentation: str
    labels: tuple[str, ...] = ()

    def of(self, samples: Iterable[tuple[tuple[str, ...], float]]) -> GaugeMetricFamily:
        """Its series now."""
        family = GaugeMetricFamily(self.name, self.documentation, labels=self.labels)
        for labels, value in samples:
            family.add_metric(labels, value)
        return family


STORE_UP = AskedGauge("headend_store_up", "Whether the database answered this scrape; if not, what follows is missing")
ROLES_RUNNING = AskedGauge("headend_roles_running", "Living processes in which a role runs", ("role",))
READ_SUCCESS_RATIO = AskedGauge(
    "headend_read_success_ratio",
    "Reads stored of those scheduled, per area and local day (yesterday, today so far); the worst metrics.most_series",
    ("area", "day"),
)
READ_SUCCESS_FLEET_RATIO = AskedGauge(
    "headend_read_success_fleet_ratio", "Reads stored of those scheduled, all areas together", ("day",)
)
READS_SCHEDULED = AskedGauge("headend_reads_scheduled", "Reads that were due, all areas together", ("day",))
READS_STORED = AskedGauge("headend_reads_stored", "Of them stored", ("day",))
CONCENTRATOR_LAG_SECONDS = AskedGauge(
    "headend_concentrator_lag_seconds",
    "Age of the newest stored reading of a concentrator's meters; the longest silent metrics.most_series",
    ("concentrator",),
)
CONCENTRATOR_SILENT_SECONDS = AskedGauge(
    "headend_concentrator_silent_seconds", "Since a concentrator was heard last", ("concentrator",)
)
CONCENTRATOR_BACKLOG_UPLOADS = AskedGauge(
    "headend_concentrator_backlog_uploads",
    "Uploads that a concentrator still keeps, as it said last",
    ("concentrator",),
)
BUS_ROUND_AGE_SECONDS = AskedGauge(
    "headend_bus_round_age_seconds",
    "Since the last round of a polled bus began; the oldest metrics.most_series",
    ("bus",),
)
DIRTY_AREA_DAYS = AskedGauge("headend_dirty_area_days", "Area-days that wait to be settled")
DIRTY_OLDEST_SECONDS = AskedGauge("headend_dirty_oldest_seconds", "Since when the oldest of them waits")
ALERTS_STANDING = AskedGauge("headend_alerts_standing", "Alerts that stand", ("kind", "severity"))
