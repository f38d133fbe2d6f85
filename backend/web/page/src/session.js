// The tokens of whoever signed in: in memory only, renewed shortly before they wear out.
const DEVICE_KEY = "selvedge.device";
const SPARE_MS = 30_000;

const SIGN_IN = `mutation ($email: String!, $password: String!, $device: DeviceInput!) {
  signIn(email: $email, password: $password, device: $device) {
    ... on Session { accessToken accessTokenExpiresAt refreshToken }
    ... on Refusal { problems { message } }
  }
}`;
const REFRESH = `mutation ($refreshToken: String!) {
  refresh(refreshToken: $refreshToken) {
    ... on Session { accessToken accessTokenExpiresAt refreshToken }
    ... on Refusal { problems { message } }
  }
}`;

export class Session {
  #url;
  #held = null;
  #renewing = null;

  constructor(url) {
    this.#url = url;
  }

  async signIn(email, password) {
    const device = { id: deviceId(), name: "GraphiQL", platform: "WEB" };
    this.#held = await this.#ask(SIGN_IN, { email, password, device }, "signIn");
  }

  signOut() {
    this.#held = null;
  }

  /** What to send as the Authorization header; null when nobody signed in. */
  async authorization() {
    if (this.#held && Date.parse(this.#held.accessTokenExpiresAt) - Date.now() < SPARE_MS) {
      this.#renewing ??= this.#renew();
      await this.#renewing;
    }
    return this.#held && `Bearer ${this.#held.accessToken}`;
  }

  async #renew() {
    try {
      this.#held = await this.#ask(REFRESH, { refreshToken: this.#held.refreshToken }, "refresh");
    } finally {
      this.#renewing = null;
    }
  }

  async #ask(query, variables, field) {
    const answer = await fetch(this.#url, {
      method: "POST",
      headers: { "content-type": "application/json", accept: "application/json" },
      body: JSON.stringify({ query, variables }),
    });
    const { data, errors } = await answer.json();
    const found = data?.[field];
    if (!found?.accessToken) {
      const problems = found?.problems ?? errors ?? [{ message: `status ${answer.status}` }];
      throw new Error(problems.map((problem) => problem.message).join(" "));
    }
    return found;
  }
}

/** One device of this browser, however often its people sign in. */
function deviceId() {
  const known = localStorage.getItem(DEVICE_KEY);
  if (known) return known;
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  const made = hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
  localStorage.setItem(DEVICE_KEY, made);
  return made;
}
