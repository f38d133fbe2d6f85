import { replicateGraphQL, pullQueryBuilderFromRxSchema as pulls, pullStreamBuilderFromRxSchema as streams,
  pushQueryBuilderFromRxSchema as pushes } from 'rxdb/plugins/replication-graphql';

export function replicate(collection, session, schemas, { batchSize = 200, ...more } = {}) {
  const { name } = collection, { schema, push } = schemas[name], input = { schema, checkpointFields: ['cursor'] };
  const headers = () => ({ authorization: `Bearer ${session.token()}` });
  const ws = `${session.server.replace('http', 'ws')}/graphql?user=${session.userId}`;
  const replication = replicateGraphQL({
    collection, headers: headers(), replicationIdentifier: `selvedge-${session.userId}-${name}`,
    url: { http: `${session.server}/graphql`, ws },
    pull: { batchSize, queryBuilder: pulls(name, input), streamQueryBuilder: streams(name, input),
      wsOptions: { connectionParams: headers, retryAttempts: Infinity } },
    push: push && { batchSize, queryBuilder: pushes(name, input) },
    ...more });
  replication.error$.subscribe(({ parameters: { errors = [] } = {} }) => {
    const codes = errors.map((error) => error.extensions?.code);
    if (codes.includes('TOKEN_EXPIRED')) session.renew?.().then(() => replication.setHeaders(headers()));
    if (codes.includes('CURSOR_EXPIRED') || codes.includes('CURSOR_INVALID')) session.startAgain?.(replication);
  });
  return replication;
}

const begun = new WeakSet();
export async function startAgain(replication, session, schemas, more) {
  const { collection } = replication, { database, name } = collection;
  if (begun.has(replication)) return null; // the error is told at each try
  begun.add(replication);
  await replication.internalReplicationState.streamQueue.up; // what is held here was handed in
  await replication.remove();
  await collection.remove();
  const made = await database.addCollections({ [name]: { schema: schemas[name].schema } });
  return replicate(made[name], session, schemas, more);
}
