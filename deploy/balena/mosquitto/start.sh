#!/bin/sh
# Starts the broker; the listener for sensors opens only once there is a password for them.
set -eu
from=${MOSQUITTO_CONFIG:-/mosquitto/config}
data=${MOSQUITTO_DATA:-/mosquitto/data}
run=$data/mosquitto.conf
cat "$from/inside.conf" > "$run"
if [ -n "${SENSOR_PASSWORD:-}" ]; then
  mosquitto_passwd -c -b "$data/passwords" sensor "$SENSOR_PASSWORD"
  chown mosquitto "$data/passwords"
  chmod 600 "$data/passwords"
  cat "$from/sensors.conf" >> "$run"
fi
exec mosquitto -c "$run"
