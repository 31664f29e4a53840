import { expect, test } from "vitest";
import { Outlets } from "../../coordinator/adapters/session/outlets.ts";

const limits = { maxBytes: 100, patience: 3, hurry: 1, maxMessages: 4 };

/** A reader whose every message the test takes when it likes. */
function aReader(outlets: Outlets) {
  const got: string[] = [];
  const underway: (() => void)[] = [];
  const dropped: string[] = [];
  const outlet = outlets.open({
    write: (message, taken) => {
      got.push(message.toString());
      underway.push(taken);
    },
    drop: (why) => dropped.push(why),
  });
  const send = (text: string, subject?: string) => outlet.send(Buffer.from(text), subject);
  return { outlet, got, dropped, send, read: () => underway.shift()?.() };
}

const big = "x".repeat(60);

test("messages leave in the order given, one at a time", () => {
  const reader = aReader(new Outlets(limits));
  for (const text of ["a", "b", "c"]) reader.send(text);
  expect(reader.got).toEqual(["a"]);
  reader.read();
  reader.read();
  expect(reader.got).toEqual(["a", "b", "c"]);
});

test("no more than so many bytes are under way over all readers, and who waits comes next in turn", () => {
  const outlets = new Outlets(limits);
  const [a, b, c] = [aReader(outlets), aReader(outlets), aReader(outlets)];
  for (const reader of [a, b, c]) reader.send(big);
  expect([a, b, c].map(({ got }) => got.length)).toEqual([1, 0, 0]);
  a.send(big); // its second one comes behind the others
  a.read();
  expect([a, b, c].map(({ got }) => got.length)).toEqual([1, 1, 0]);
  b.read();
  expect([a, b, c].map(({ got }) => got.length)).toEqual([1, 1, 1]);
  c.read();
  expect(a.got).toHaveLength(2);
});

test("a message larger than all the room leaves when nothing else is under way", () => {
  const reader = aReader(new Outlets(limits));
  reader.send("y".repeat(500));
  expect(reader.got).toHaveLength(1);
});

test("a champion takes the place of an older one that still waits, and stays before what follows it", () => {
  const reader = aReader(new Outlets(limits));
  reader.send("first");
  reader.send("champion 2", "pumps");
  reader.send("champion 3", "pumps");
  reader.send("feedback on 3");
  for (let i = 0; i < 3; i++) reader.read();
  expect(reader.got).toEqual(["first", "champion 3", "feedback on 3"]);
});

test("a reader that does not read is dropped in the end, and soon when others wait for its room", () => {
  const outlets = new Outlets(limits);
  const [slow, other] = [aReader(outlets), aReader(outlets)];
  slow.send(big);
  for (let check = 0; check < 3; check++) outlets.check();
  expect(slow.dropped).toEqual([]);
  other.send(big);
  expect(other.got).toEqual([]);
  outlets.check();
  expect(slow.dropped).toHaveLength(1);
  expect(other.got).toHaveLength(1);
  for (let check = 0; check < 4; check++) outlets.check();
  expect(other.dropped).toHaveLength(1);
});

test("a reader that others wait for keeps its place while it reads within a check", () => {
  const outlets = new Outlets(limits);
  const [quick, other] = [aReader(outlets), aReader(outlets)];
  quick.send(big);
  other.send(big);
  outlets.check();
  expect([quick, other].flatMap(({ dropped }) => dropped)).toEqual([]);
});

test("a reader for whom too many messages wait is dropped", () => {
  const reader = aReader(new Outlets(limits));
  for (let n = 0; n < 5; n++) reader.send(`${n}`);
  expect(reader.dropped).toEqual([]);
  reader.send("one too many");
  expect(reader.dropped).toEqual(["4 messages wait for it"]);
});

test("a reader that is gone leaves its room to the others, and what is sent to it is nothing", () => {
  const outlets = new Outlets(limits);
  const [gone, other] = [aReader(outlets), aReader(outlets)];
  gone.send(big);
  other.send(big);
  gone.outlet.close();
  expect(other.got).toHaveLength(1);
  gone.read(); // the connection may still say so
  gone.send("late");
  expect(gone.got).toHaveLength(1);
  other.read();
  other.send(big);
  expect(other.got).toHaveLength(2);
});
