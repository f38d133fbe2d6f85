// Mercurius on Fastify with its own loaders and just-in-time compiler: `node mercurius.js PORT DATABASE SHAPES`.
// No sign-in, no limits.
import { readFileSync } from "node:fs";
import Fastify from "fastify";
import { GraphQLScalarType } from "graphql";
import mercurius from "mercurius";
import pg from "pg";

const [port, database, shapesFile] = process.argv.slice(2);
const shapes = JSON.parse(readFileSync(shapesFile, "utf8"));
const pool = new pg.Pool({ connectionString: database, max: 10, options: "-c search_path=peer" });

const fields = (shape) => shapes[shape].map(([name, , type]) => `${name}: ${type}`).join("\n");
// the columns under the names the types have, so that the default resolvers serve
const columns = (shape, ...more) =>
  [...shapes[shape].map(([name, column]) => `t."${column}" AS "${name}"`), ...more].join(", ");

const schema = `
scalar JSON
type Territory { ${fields("territories")} }
type Contact { ${fields("contacts")} }
type CustomerContact { ${fields("customerContacts")} contact: Contact }
type OrderLine { ${fields("lines")} position: Int }
type Order { ${fields("orders")} lines: [OrderLine!]! }
type Visit { ${fields("visits")} rev: Int }
type Score { ${fields("scores")} }
type Customer {
  ${fields("customers")} priority: Int rev: Int territory: Territory nextVisit: Visit
  contacts(first: Int!): [CustomerContact!]!
  orders(first: Int!): [Order!]!
}
input VisitPatch { id: String! nextStep: String! }
type Query {
  customer(id: String!): Customer
  morningList(territories: [String!]!, most: Int!): [Customer!]!
  visitsSince(territories: [String!]!, since: Int!, most: Int!): [Visit!]!
  customersIn(territories: [String!]!): [Customer!]!
  contactsIn(territories: [String!]!): [Contact!]!
  linksIn(territories: [String!]!): [CustomerContact!]!
  visitsIn(territories: [String!]!): [Visit!]!
  ordersIn(territories: [String!]!): [Order!]!
  scoresIn(territories: [String!]!): [Score!]!
}
type Mutation { updateVisits(patches: [VisitPatch!]!): [Visit!]! }
`;

const rows = async (name, text, values) => (await pool.query({ name, text, values })).rows;
const customer = columns("customers", "t.priority", "t.rev");
const visit = columns("visits", "t.rev");
const inTerritories = (name, shape, table, ...more) => {
  const text = `SELECT ${columns(shape, ...more)} FROM ${table} t WHERE t.territory_id = ANY($1)`;
  return (_, { territories }) => rows(name, text, [territories]);
};

const resolvers = {
  JSON: new GraphQLScalarType({ name: "JSON", serialize: (value) => value }),
  Query: {
    customer: async (_, { id }) =>
      (await rows("customer", `SELECT ${customer} FROM customer t WHERE t.id = $1`, [id]))[0],
    morningList: (_, { territories, most }) =>
      rows(
        "morningList",
        `SELECT ${customer} FROM customer t WHERE t.territory_id = ANY($1) ORDER BY t.priority DESC, t.id DESC LIMIT $2`,
        [territories, most],
      ),
    visitsSince: (_, { territories, since, most }) =>
      rows(
        "visitsSince",
        `SELECT ${visit} FROM visit t WHERE t.territory_id = ANY($1) AND t.rev > $2 ORDER BY t.rev, t.id LIMIT $3`,
        [territories, since, most],
      ),
    customersIn: inTerritories("customersIn", "customers", "customer"),
    contactsIn: (_, { territories }) =>
      rows(
        "contactsIn",
        `SELECT ${columns("contacts")} FROM contact t WHERE t.id IN (SELECT contact_id FROM link WHERE territory_id = ANY($1))`,
        [territories],
      ),
    linksIn: inTerritories("linksIn", "customerContacts", "link"),
    visitsIn: inTerritories("visitsIn", "visits", "visit", "t.rev"),
    ordersIn: inTerritories("ordersIn", "orders", "sales_order"),
    scoresIn: inTerritories("scoresIn", "scores", "score"),
  },
  Mutation: {
    updateVisits: async (_, { patches }) => {
      const connection = await pool.connect();
      const changed = [];
      try {
        await connection.query("BEGIN");
        for (const { id, nextStep } of patches) {
          const text = `UPDATE visit t SET next_step = $2, rev = nextval('peer.changes') WHERE t.id = $1 RETURNING ${visit}`;
          changed.push((await connection.query({ name: "update", text, values: [id, nextStep] })).rows[0]);
        }
        await connection.query("COMMIT");
      } catch (error) {
        await connection.query("ROLLBACK");
        throw error;
      } finally {
        connection.release();
      }
      return changed;
    },
  },
};

const grouped = (queries, found, key) => {
  const byKey = new Map();
  for (const row of found) byKey.has(row[key]) ? byKey.get(row[key]).push(row) : byKey.set(row[key], [row]);
  return queries.map(({ obj }) => byKey.get(obj.id) ?? []);
};
const ids = (queries, key = "id") => queries.map(({ obj }) => obj[key]);
const byId = (name, shape, table, key) => async (queries) => {
  const text = `SELECT ${columns(shape)} FROM ${table} t WHERE t.id = ANY($1)`;
  const found = new Map((await rows(name, text, [ids(queries, key)])).map((row) => [row.id, row]));
  return queries.map(({ obj }) => found.get(obj[key]) ?? null);
};
const loaders = {
  Customer: {
    territory: byId("territory", "territories", "territory", "territoryId"),
    nextVisit: async (queries) => {
      const text = `SELECT DISTINCT ON (t.customer_id) ${visit} FROM visit t WHERE t.customer_id = ANY($1) AND t.state = 'PLANNED' ORDER BY t.customer_id, t.happens_at, t.id`;
      const found = await rows("nextVisit", text, [ids(queries)]);
      return grouped(queries, found, "customerId").map((list) => list[0] ?? null);
    },
    contacts: async (queries) => {
      const text = `SELECT ${columns("customerContacts")} FROM unnest($1::text[]) c(id) CROSS JOIN LATERAL (SELECT * FROM link WHERE customer_id = c.id ORDER BY sorted_at, id LIMIT $2) t`;
      return grouped(queries, await rows("contacts", text, [ids(queries), queries[0].params.first]), "customerId");
    },
    orders: async (queries) => {
      const text = `SELECT ${columns("orders")} FROM unnest($1::text[]) c(id) CROSS JOIN LATERAL (SELECT * FROM sales_order WHERE customer_id = c.id ORDER BY sorted_at DESC, id DESC LIMIT $2) t`;
      return grouped(queries, await rows("orders", text, [ids(queries), queries[0].params.first]), "customerId");
    },
  },
  CustomerContact: { contact: byId("contact", "contacts", "contact", "contactId") },
  Order: {
    lines: async (queries) => {
      const text = `SELECT ${columns("lines", "t.position", "t.order_id")} FROM order_line t WHERE t.order_id = ANY($1) ORDER BY t.position, t.id`;
      return grouped(queries, await rows("lines", text, [ids(queries)]), "order_id");
    },
  },
};

const app = Fastify({ bodyLimit: 4_000_000 });
app.register(mercurius, { schema, resolvers, loaders, jit: 1, graphiql: false });
app.get("/live", async () => ({ status: "live" }));
await app.listen({ port: Number(port), host: "127.0.0.1" });
