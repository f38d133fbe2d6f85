// graphql-http's own audit of a server: one check per statement of GraphQL over HTTP.
import { serverAudits } from "graphql-http";

const { url } = JSON.parse(process.env.ORDERS);

for (const audit of serverAudits({ url })) {
  const result = await audit.fn();
  console.log(
    JSON.stringify({
      check: `${audit.id} ${audit.name}`,
      ok: result.status === "ok",
      status: result.status,
      reason: result.reason ?? null,
    }),
  );
}
