"""A low-voltage neighbourhood with physics and ground truth that speaks real Modbus TCP and real MQTT."""
