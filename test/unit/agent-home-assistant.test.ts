import fc from "fast-check";
import { expect, test } from "vitest";
import { discoveryMessage, discoveryTopic } from "../../agent/core/home-assistant.ts";
import { deviceId, gatewayId } from "../../learning/ids.ts";

const subject = {
  prefix: "homeassistant",
  origin: { site: "north", gatewayId: gatewayId("gw-1"), alertPrefix: null },
  version: "1.2.3",
};

test("a device is a configuration with a problem sensor a model, by the retained states and the gateway's status", () => {
  const { topic, payload, retain } = discoveryMessage(subject, deviceId("pump_1.a"));
  expect([topic, retain]).toEqual(["homeassistant/device/flead__north__gw-1__pump_u1_da/config", true]);
  const { dev, o, availability, cmps } = JSON.parse(payload);
  expect(dev).toMatchObject({ ids: ["flead__north__gw-1__pump_u1_da"], name: "pump_1.a" });
  expect(o).toEqual({ name: "flead", sw: "1.2.3" });
  expect(availability).toEqual([
    { topic: "flead/v1/north/gw-1/status", value_template: "{{ value_json.data.state }}" },
  ]);
  expect(Object.keys(cmps)).toHaveLength(3);
  expect(cmps["flead__north__gw-1__pump_u1_da__z_uscore"]).toMatchObject({
    p: "binary_sensor",
    unique_id: "flead__north__gw-1__pump_u1_da__z_uscore",
    device_class: "problem",
    state_topic: "flead/v1/north/gw-1/alert/pump_1.a/z_score",
  });
});

test("the gateway is a configuration with its storm", () => {
  const { topic, payload } = discoveryMessage(subject, null);
  expect(topic).toBe("homeassistant/device/flead__north__gw-1/config");
  expect(JSON.parse(payload).cmps).toMatchObject({
    "flead__north__gw-1__storm": { state_topic: "flead/v1/north/gw-1/alert/gw-1/storm" },
  });
});

test("ids are made of what Home Assistant allows, and no two devices have one", () => {
  const name = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,9}$/);
  fc.assert(
    fc.property(name, name, name, name, (gatewayA, deviceA, gatewayB, deviceB) => {
      const topics = [
        [gatewayA, deviceA],
        [gatewayB, deviceB],
      ].map(([gateway = "", device = ""]) => {
        const origin = { ...subject.origin, gatewayId: gatewayId(gateway) };
        return discoveryTopic({ ...subject, origin }, deviceId(device));
      });
      for (const topic of topics) expect(topic).toMatch(/^homeassistant\/device\/[a-zA-Z0-9_-]+\/config$/);
      expect(topics[0] === topics[1]).toBe(gatewayA === gatewayB && deviceA === deviceB);
    }),
  );
});
