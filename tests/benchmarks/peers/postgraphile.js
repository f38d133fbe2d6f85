// PostGraphile over the schema `peer`: `node postgraphile.js PORT DATABASE`. No sign-in, no limits.
import { createServer } from "node:http";
import { postgraphile } from "postgraphile";
import { makePgService } from "postgraphile/adaptors/pg";
import { grafserv } from "postgraphile/grafserv/node";
import { PostGraphileAmberPreset } from "postgraphile/presets/amber";

const [port, database] = process.argv.slice(2);
const instance = postgraphile({
  extends: [PostGraphileAmberPreset],
  pgServices: [
    makePgService({ connectionString: database, schemas: ["peer"], poolConfig: { max: 10 } }),
  ],
  schema: { defaultBehavior: "list connection", pgJwtSecret: undefined },
  grafserv: { port: Number(port), graphiql: false, watch: false, maxRequestLength: 4_000_000 },
  grafast: { explain: false },
});
const server = createServer();
server.on("error", (error) => {
  console.error(error);
  process.exit(1);
});
const serv = instance.createServ(grafserv);
await serv.addTo(server);
const { graphql } = await import("graphql");
server.listen(Number(port), "127.0.0.1");
