// A device's id from whatever a site calls it.
import { type DeviceId, deviceId } from "../../../learning/ids.ts";
import { show } from "../../../learning/telemetry/message.ts";
import { type Refusal, refusal } from "../../../learning/telemetry/refusal.ts";
import { hash } from "../hash.ts";

const MAX_CHARACTERS = 256;
/** Of an id, less a dash and eight hex digits. */
const STEM_CHARACTERS = 55;

/**
 * A name that is a device id stays as it is. In any other, what is not allowed becomes dashes, and a number that stands
 * for the whole name follows, so that two names don't meet: `kitchen lamp` is `kitchen-lamp-` and eight hex digits.
 */
export function deviceOfName(name: string): DeviceId | Refusal {
  if (name.trim() === "" || name.length > MAX_CHARACTERS)
    return refusal("invalid_device_id", `a device's name ${show(name)} must have 1 to ${MAX_CHARACTERS} characters`);
  try {
    return deviceId(name);
  } catch {
    const stem = name.replace(/[^A-Za-z0-9_.-]+/g, "-").replace(/^[^A-Za-z0-9]+|-+$/g, "");
    const number = hash(name).toString(16).padStart(8, "0");
    return deviceId(`${stem.slice(0, STEM_CHARACTERS) || "device"}-${number}`);
  }
}
