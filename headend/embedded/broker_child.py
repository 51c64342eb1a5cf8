"""Runs the embedded MQTT broker in this process until it is killed; argument: its TOML file."""

import logging
import sys

from iotcore.iotcore import IotCoreBroker


def main() -> None:
    """Run rumqttd; its own records stay off, because it logs every packet at level ERROR."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("rumqttd").setLevel(logging.CRITICAL)
    broker = IotCoreBroker(config_path=sys.argv[1])
    broker.check_ports()
    logging.getLogger("headend.embedded.broker").info("listening on %s", ", ".join(broker.listeners()))
    broker.run_forever()
    sys.exit("the broker ended by itself")


if __name__ == "__main__":
    main()
