// The floor: mqtt.js that counts what comes and does nothing else, in a process of its own.
import { connect } from "mqtt";

const [url = ""] = process.argv.slice(2);
let heard = 0;
const client = connect(url, { protocolVersion: 4, reconnectPeriod: 0 });
client.on("message", () => {
  heard++;
});
client.on("connect", () =>
  client.subscribe("flead/v1/+/+/telemetry", { qos: 0 }, () => process.send?.({ ready: true })),
);
process.on("message", () => process.send?.({ heard }));
process.on("disconnect", () => process.exit());
