// GraphiQL with a bar above it: who is signed in, and how subscriptions come.
import "graphiql/setup-workers/vite";
import "graphiql/style.css";
import "./page.css";

import { GraphiQL } from "graphiql";
import { useState } from "react";
import { createRoot } from "react-dom/client";

import { FIRST_QUERY } from "./first.js";
import { makeFetcher } from "./fetcher.js";
import { Session } from "./session.js";

const told = JSON.parse(document.querySelector('meta[name="selvedge"]').content || "{}");
const asked = new URLSearchParams(location.search);
const session = new Session("/graphql");
const ways = { by: "websocket" };
const fetcher = makeFetcher("/graphql", session, ways);

function Bar() {
  const people = told.people ?? [];
  const [email, setEmail] = useState(people[0]?.email ?? "");
  const [password, setPassword] = useState(told.password ?? "");
  const [who, setWho] = useState(null);
  const [trouble, setTrouble] = useState("");
  const [by, setBy] = useState(ways.by);

  async function signIn(event) {
    event.preventDefault();
    setTrouble("");
    try {
      await session.signIn(email, password);
      setWho(email);
    } catch (error) {
      setTrouble(error.message);
    }
  }

  function choose(event) {
    ways.by = event.target.value;
    setBy(event.target.value);
  }

  return (
    <form className="bar" onSubmit={signIn}>
      <strong>Selvedge</strong>
      {who ? (
        <>
          <span id="who">signed in as {who}</span>
          <button
            type="button"
            onClick={() => {
              session.signOut();
              setWho(null);
            }}
          >
            Sign out
          </button>
        </>
      ) : (
        <>
          <input
            aria-label="e-mail"
            placeholder="e-mail"
            list="people"
            autoComplete="username"
            value={email}
            onChange={(event) => setEmail(event.target.value)}
          />
          <datalist id="people">
            {people.map((person) => (
              <option key={person.email} value={person.email}>
                {`${person.role} ${person.name}`}
              </option>
            ))}
          </datalist>
          <input
            aria-label="password"
            placeholder="password"
            type="password"
            autoComplete="current-password"
            value={password}
            onChange={(event) => setPassword(event.target.value)}
          />
          <button id="sign-in">Sign in</button>
          {people.length > 0 && <span className="quiet">anyone of the demo company, password {told.password}</span>}
        </>
      )}
      {trouble && <span className="trouble">{trouble}</span>}
      <label className="right">
        subscriptions by{" "}
        <select value={by} onChange={choose}>
          <option value="websocket">graphql-transport-ws</option>
          <option value="sse">server-sent events</option>
        </select>
      </label>
    </form>
  );
}

createRoot(document.getElementById("page")).render(
  <>
    <Bar />
    <div className="rest">
      <GraphiQL
        fetcher={fetcher}
        defaultQuery={FIRST_QUERY}
        initialQuery={asked.get("query") ?? undefined}
        initialVariables={asked.get("variables") ?? undefined}
        defaultEditorToolsVisibility={false}
        shouldPersistHeaders={false}
      />
    </div>
  </>,
);
