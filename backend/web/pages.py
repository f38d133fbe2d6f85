"""Pages that need no build: what to do where the assets of GraphiQL are not there."""

from html import escape

GRAPHIQL_UNBUILT = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Selvedge</title>
<style>body{{font:16px/1.5 sans-serif;max-width:46rem;margin:3rem auto;padding:0 1rem}}
pre{{background:#f4f4f4;padding:1rem;overflow:auto}}</style>
<h1>GraphiQL is not built here</h1>
<p>The server answers GraphQL at <code>{address}/graphql</code>. From a terminal:</p>
<pre>{example}</pre>
<p>With the access token in <code>Authorization: Bearer …</code> ask for anything in
<code>mobile_contract/schema.graphql</code>.</p>
</html>
"""

SIGN_IN_DOCUMENT = (
    "mutation ($email: String!, $password: String!, $device: DeviceInput!) "
    "{ signIn(email: $email, password: $password, device: $device) "
    "{ ... on Session { accessToken refreshToken } ... on Refusal { problems { code message } } } }"
)


def graphiql_unbuilt(address: str) -> str:
    """The page in place of GraphiQL, with a command that signs in at this server."""
    return GRAPHIQL_UNBUILT.format(address=escape(address), example=escape(sign_in_example(address)))


def sign_in_example(address: str, *, email: str = "you@example.com", password: str = "…") -> str:
    """A curl command that signs in."""
    return (
        f"curl -s {address}/graphql -H 'content-type: application/json' --data-binary @- <<'END'\n"
        f'{{"query": "{SIGN_IN_DOCUMENT}",\n'
        f' "variables": {{"email": "{email}", "password": "{password}",\n'
        '   "device": {"id": "01890a5d-ac96-774b-bcce-b302099a8057", "name": "a terminal", "platform": "CLI"}}}\n'
        "END"
    )
