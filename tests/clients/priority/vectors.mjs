// Every case of the vectors, through the TypeScript implementation a device would carry.
import { readFile } from "node:fs/promises";

const orders = JSON.parse(process.env.ORDERS);
const { judged, priority, rank } = await import(orders.implementation);
const { parameters, tables, cases, ranking, judgements, judged: lists } = JSON.parse(await readFile(orders.vectors, "utf8"));

const canonical = (value) =>
  JSON.stringify(value, (_, one) =>
    one !== null && typeof one === "object" && !Array.isArray(one)
      ? Object.fromEntries(Object.entries(one).sort(([left], [right]) => (left < right ? -1 : 1)))
      : one,
  );

const scored = {};
for (const one of cases) {
  const found = priority(parameters, tables, one.score, one.facts);
  scored[one.customerId] = found;
  const ok = canonical(found) === canonical(one.expected);
  console.log(JSON.stringify({ check: one.customerId, ok, ...(ok ? {} : { found, expected: one.expected }) }));
}
console.log(JSON.stringify({ check: "ranking", ok: canonical(rank(scored)) === canonical(ranking) }));
for (const { on, me, places, ranking: expected } of lists) {
  const found = Object.fromEntries(
    Object.keys(places).map((id) => [
      id,
      judged(scored[id].score, judgements.filter((one) => one.customerId === id), on, me),
    ]),
  );
  const ok = canonical(rank(scored, judgements, on, me)) === canonical(expected) && canonical(found) === canonical(places);
  console.log(JSON.stringify({ check: `judged on ${on} by ${me}`, ok }));
}
