import { replicateGraphQL, pullQueryBuilderFromRxSchema, pullStreamBuilderFromRxSchema, pushQueryBuilderFromRxSchema }
  from 'rxdb/plugins/replication-graphql';

/** `session`: {server, userId, token: () => string}; `schemas`: the content of rxdb-schemas.json. */
export function replicate(collection, session, schemas, { batchSize = 200, ...more } = {}) {
  const { schema, push } = schemas[collection.name];
  const input = { schema, checkpointFields: ['cursor'] };
  const bearer = () => ({ authorization: `Bearer ${session.token()}` });
  const replication = replicateGraphQL({
    collection,
    replicationIdentifier: `selvedge-${session.userId}-${collection.name}`,
    url: { http: `${session.server}/graphql`, ws: `${session.server.replace('http', 'ws')}/graphql?user=${session.userId}` },
    headers: bearer(),
    pull: {
      batchSize,
      queryBuilder: pullQueryBuilderFromRxSchema(collection.name, input),
      streamQueryBuilder: pullStreamBuilderFromRxSchema(collection.name, input),
      wsOptions: { connectionParams: bearer, retryAttempts: Infinity },
    },
    push: push ? { batchSize, queryBuilder: pushQueryBuilderFromRxSchema(collection.name, input) } : undefined,
    ...more,
  });
  const again = new Set(['CURSOR_EXPIRED', 'CURSOR_INVALID']);
  replication.error$.subscribe(({ parameters: { direction, errors = [] } = {} }) => {
    const codes = errors.map((error) => error.extensions?.code);
    if (codes.includes('TOKEN_EXPIRED')) session.renew?.().then(() => replication.setHeaders(bearer()));
    if (direction === 'pull' && codes.some((code) => again.has(code))) session.startAgain?.(replication);
  });
  return replication;
}

/** After CURSOR_EXPIRED: hand in what is held, drop the collection with its replication, begin again from nothing. */
export async function startAgain(replication, session, schemas, more = {}) {
  const { collection } = replication, { database, name } = collection;
  await replication.internalReplicationState.streamQueue.up;
  await replication.remove();
  await collection.remove();
  const made = await database.addCollections({ [name]: { schema: schemas[name].schema } });
  return replicate(made[name], session, schemas, more);
}
