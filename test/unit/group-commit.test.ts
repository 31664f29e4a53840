import { expect, test, vi } from "vitest";
import { GroupCommit } from "../../coordinator/adapters/group-commit.ts";

const LIMITS = { maxItems: 8, maxBytes: 800, batchItems: 4, batchBytes: 250 };

/** Items are texts of as many bytes as they say; every batch ends when the test says so. */
function setUp(limits = LIMITS, writers = 1, gatherMs?: number) {
  const batches: { items: readonly string[]; writer: number; end: (error?: Error) => void }[] = [];
  const queue = new GroupCommit<string, string>({
    limits,
    writers,
    ...(gatherMs !== undefined && { gatherMs }),
    bytesOf: (item) => Number(item.split(" ")[1] ?? 1),
    write: (items, writer) =>
      new Promise((resolve, reject) => {
        batches.push({
          items,
          writer,
          end: (error) => (error ? reject(error) : resolve(items.map((item) => `${item} done`))),
        });
      }),
  });
  const answers: string[] = [];
  const add = (item: string) =>
    void queue.add(item).then(
      (outcome) => answers.push(outcome),
      (error: Error) => answers.push(`${item} ${error.message}`),
    );
  const end = async (batch: number, error?: Error) => {
    batches[batch]?.end(error);
    await new Promise((resolve) => setImmediate(resolve));
  };
  return { queue, batches, answers, add, end, written: () => batches.map(({ items }) => items.join(", ")) };
}

test("what comes while a batch is written is the next batch, and each is answered with its own outcome", async () => {
  const { add, end, written, answers } = setUp();
  for (const item of ["a", "b", "c"]) add(item);
  expect(written()).toEqual(["a"]); // the first does not wait for others
  await end(0);
  expect(written()).toEqual(["a", "b, c"]);
  await end(1);
  expect(answers).toEqual(["a done", "b done", "c done"]);
});

test("a writer that is to gather takes what came meanwhile into its batch, also while another is written", async () => {
  const { queue, add, end, written, batches } = setUp(LIMITS, 1, 1);
  for (const item of ["a", "b"]) add(item);
  expect(written()).toEqual([]);
  await vi.waitFor(() => expect(batches).toHaveLength(1));
  for (const item of ["c", "d"]) add(item);
  await end(0);
  await vi.waitFor(() => expect(batches).toHaveLength(2));
  expect(written()).toEqual(["a, b", "c, d"]);
  await end(1);
  await queue.settled();
});

test("a batch is bounded in items and in bytes, and a larger item is one alone", async () => {
  const { add, end, written } = setUp();
  for (const item of ["a", "b", "c", "d", "e", "f"]) add(item);
  await end(0);
  expect(written().at(-1)).toBe("b, c, d, e");
  for (const item of ["g 100", "h 200", "i 300"]) add(item);
  await end(1);
  expect(written().at(-1)).toBe("f, g 100");
  await end(2);
  await end(3);
  expect(written().slice(-2)).toEqual(["h 200", "i 300"]);
});

test("several writers take turns, each with one batch at a time", async () => {
  const { add, end, batches, queue } = setUp(LIMITS, 2);
  for (const item of ["a", "b", "c", "d"]) add(item);
  expect(batches.map(({ items, writer }) => [items.join(), writer])).toEqual([
    ["a", 0],
    ["b", 1],
  ]);
  await end(1);
  expect(batches.at(-1)).toMatchObject({ items: ["c", "d"], writer: 1 });
  const settled = queue.settled();
  await end(0);
  await end(2);
  await settled;
});

test("a batch that fails fails for all of its items, and the next one goes on", async () => {
  const { add, end, answers } = setUp();
  for (const item of ["a", "b", "c"]) add(item);
  await end(0);
  await end(1, new Error("failed"));
  add("d");
  await end(2);
  expect(answers).toEqual(["a done", "b failed", "c failed", "d done"]);
});

test("there is room for so many items and bytes, those that are being written among them", async () => {
  const { add, end, queue } = setUp();
  for (let n = 0; n < 8; n++) add(`${n}`);
  expect(queue.hasRoomFor("one too many")).toBe(false);
  await end(0);
  expect(queue.hasRoomFor("another")).toBe(true);
  add("big 790");
  expect(queue.hasRoomFor("small 10")).toBe(false);
});

test("an item larger than all the room is taken when nothing else is there", () => {
  const { add, queue } = setUp();
  expect(queue.hasRoomFor("huge 5000")).toBe(true);
  add("huge 5000");
  expect(queue.hasRoomFor("small 1")).toBe(false);
});

test("when it is half full, readers wait, and come again as there is room, in turn", async () => {
  const { add, end, queue } = setUp();
  expect(queue.isCalm).toBe(true);
  for (let n = 0; n < 5; n++) add(`${n} 100`);
  expect(queue.isCalm).toBe(false);
  const came: number[] = [];
  for (let n = 0; n < 3; n++) void queue.whenCalm().then(() => came.push(n));
  await end(0);
  expect(came).toEqual([]); // four of a hundred bytes are half
  await end(1);
  expect(came).toEqual([0, 1]);
});

test("nobody is left waiting when nothing is written any more, however large the last item was", async () => {
  const { add, end, queue } = setUp();
  add("huge 5000");
  const came: number[] = [];
  for (let n = 0; n < 3; n++) void queue.whenCalm().then(() => came.push(n));
  await end(0);
  expect(came).toEqual([0, 1, 2]);
  expect(queue.isCalm).toBe(true);
});
