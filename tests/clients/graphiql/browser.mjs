// GraphiQL in a browser: signs in, asks, follows the pokes over both connections; every request is written down.
import { chromium } from "playwright-core";

const { url, email, password, query, picture, executable } = JSON.parse(process.env.ORDERS);
const PATIENCE_MS = 60_000;

const browser = await chromium.launch({
  executablePath: executable,
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
  ],
});
const told = (check, rest) => console.log(JSON.stringify({ check, ...rest }));
const page = await browser.newPage({ viewport: { width: 1360, height: 800 } });
page.setDefaultTimeout(PATIENCE_MS);
const asked = [];
const complaints = [];
page.context().on("request", (request) => asked.push(request.url()));
page.on("websocket", (socket) => asked.push(socket.url()));
page.on("console", (line) => line.type() === "error" && complaints.push(line.text()));
page.on("pageerror", (error) => complaints.push(String(error)));

const result = page.locator(".result-window");
const says = (text) => result.getByText(text).first().waitFor();
async function run(operation) {
  await page.locator(".graphiql-execute-button").click();
  const choice = page.getByRole("menuitem", { name: operation });
  if (operation) await choice.click();
}

try {
  await page.goto(`${url}/graphiql${query ? `?query=${encodeURIComponent(query)}` : ""}`);
  await page.getByLabel("e-mail").fill(email);
  await page.getByLabel("password").fill(password);
  await page.locator("#sign-in").click();
  await page.locator("#who").waitFor();
  told("signed in", { who: await page.locator("#who").innerText() });

  await page.locator(".graphiql-query-editor .view-line").first().waitFor();
  await run(query ? null : "WhomToVisit");
  await says("customers");
  told("answered", { text: (await result.innerText()).replaceAll("\u00a0", " ") });
  if (picture) await page.screenshot({ path: picture, type: "png" });

  for (const by of query ? [] : ["websocket", "sse"]) {
    await page.locator(".bar select").selectOption(by);
    await run("Pokes");
    await says("syncPoke");
    told(`followed by ${by}`, { text: (await result.innerText()).replaceAll("\u00a0", " ") });
    await page.locator(".graphiql-execute-button").click();
  }
} finally {
  told("requests", { asked, complaints });
  await browser.close();
}
