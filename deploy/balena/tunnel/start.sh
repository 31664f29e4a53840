#!/bin/sh
# Carries the agent's session to a coordinator that listens on the loopback of its own machine.
set -eu
keys=${TUNNEL_KEYS:-/keys}
if [ ! -f "$keys/id_ed25519" ]; then
  ssh-keygen -q -t ed25519 -N "" -C "flead-gateway-${BALENA_DEVICE_UUID:-unnamed}" -f "$keys/id_ed25519"
fi
echo "this gateway's line for the coordinator's authorized_keys:"
echo "restrict,port-forwarding,permitopen=\"127.0.0.1:7443\" $(cat "$keys/id_ed25519.pub")"
if [ -z "${COORDINATOR_SSH:-}" ]; then
  echo "COORDINATOR_SSH (user@host) is not set: the agent works alone"
  exec sleep infinity
fi
# The first connection decides which host key is trusted; remove known_hosts when the coordinator's machine changes.
exec ssh -N -i "$keys/id_ed25519" -L 0.0.0.0:7443:127.0.0.1:7443 \
  -o BatchMode=yes -o ExitOnForwardFailure=yes -o ServerAliveInterval=10 -o ServerAliveCountMax=3 \
  -o StrictHostKeyChecking=accept-new -o "UserKnownHostsFile=$keys/known_hosts" "$COORDINATOR_SSH"
