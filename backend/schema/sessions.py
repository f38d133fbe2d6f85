"""Signing in and staying signed in."""

from base64 import urlsafe_b64encode
from typing import Annotated

import strawberry

from backend.auth.principal import Role
from backend.domain.devices import DeviceGiven
from backend.errors import Refused
from backend.schema.changes import tell
from backend.schema.context import Info
from backend.schema.refusals import Refusal, refuse
from backend.schema.scalars import Instant
from backend.usecases.oidc import Proof
from backend.usecases.sessions import HOUR_MS, begin_reset
from backend.usecases.sessions import Me as FoundMe
from backend.usecases.sessions import Session as OpenedSession


@strawberry.input(description="The device that signs in.")
class DeviceInput:
    id: strawberry.ID = strawberry.field(description="Made once on the device and kept: a UUID in small letters.")
    name: str = strawberry.field(description="What its owner calls it, at most 120 characters.")
    platform: str = strawberry.field(description="Such as ANDROID, IOS or WEB, at most 40 characters.")


@strawberry.type(description="What a device holds to ask as somebody.")
class Session:
    access_token: str = strawberry.field(description="Goes into each request: `Authorization: Bearer …`.")
    access_token_expires_at: Instant = strawberry.field(description="Refresh before.")
    refresh_token: str = strawberry.field(
        description="Good for one refresh, which gives the next. Using one again later ends the sign-in."
    )
    refresh_token_expires_at: Instant = strawberry.field(description="Sign in again after that.")
    user_id: strawberry.ID = strawberry.field(description="Who signed in.")
    device_id: strawberry.ID = strawberry.field(description="The device the tokens are bound to.")
    device_state: str = strawberry.field(description="ACTIVE; or DRAINING: it may push what it holds, nothing else.")


@strawberry.type(description="The sign-in has ended; its tokens are worth nothing now.")
class SignedOut:
    ok: bool = strawberry.field(description="Always true.")


@strawberry.type(description="For whom rescue files are encrypted: see `rescue.py` of the contract.")
class RescueKey:
    kid: str = strawberry.field(description="The key's name, to be written into the file.")
    public_key: str = strawberry.field(description="ECDH P-256: the uncompressed point, 65 bytes, in base64url.")


@strawberry.type(description="The device that asks.")
class MyDevice:
    id: strawberry.ID = strawberry.field(description="Its id.")
    name: str = strawberry.field(description="What its owner calls it.")
    platform: str = strawberry.field(description="Such as ANDROID, IOS or WEB.")
    state: str = strawberry.field(description="ACTIVE; or DRAINING: it may push what it holds, nothing else.")


@strawberry.type(description="The colleague who asks.")
class Me:
    id: strawberry.ID = strawberry.field(description="The user's id.")
    name: str = strawberry.field(description="The name.")
    email: str = strawberry.field(description="The address used to sign in.")
    role: Role = strawberry.field(description="What the colleague does in the company.")
    locale: str = strawberry.field(description="The language messages are written in: en, zh-CN or ko.")
    device: MyDevice = strawberry.field(description="The device that asks.")


@strawberry.type(description="The password was changed.")
class PasswordChanged:
    ok: bool = strawberry.field(description="Always true.")


@strawberry.type(description="A one-time token with which a colleague sets a new password.")
class PasswordResetBegun:
    token: str = strawberry.field(description="To be handed to the colleague; told this once.")
    expires_at: Instant = strawberry.field(description="Worth nothing from then on.")


@strawberry.type(description="A sign-in with the company's provider, begun.")
class OidcBegun:
    authorization_url: str = strawberry.field(description="Open this in the browser.")
    state: str = strawberry.field(description="Comes back with the code; goes into `signInWithOidc`.")
    nonce: str = strawberry.field(description="For apps that ask the provider themselves: the ID token must name it.")
    expires_at: Instant = strawberry.field(description="Finish before.")


SignInResult = Annotated[
    Session | Refusal,
    strawberry.union("SignInResult", description="The session; or why not, e-mail and password told as one."),
]
RefreshResult = Annotated[
    Session | Refusal, strawberry.union("RefreshResult", description="The next session, or why there is none.")
]
SignOutResult = Annotated[
    SignedOut | Refusal, strawberry.union("SignOutResult", description="Signed out, or why the token is not taken.")
]
OidcBeginResult = Annotated[
    OidcBegun | Refusal, strawberry.union("OidcBeginResult", description="Where to go, or why nowhere.")
]
PasswordResult = Annotated[
    PasswordChanged | Refusal, strawberry.union("PasswordResult", description="It was changed, or why it was not.")
]
PasswordResetResult = Annotated[
    PasswordResetBegun | Refusal,
    strawberry.union("PasswordResetResult", description="The token, or why there is none."),
]
NewPassword = Annotated[str, strawberry.argument(description="The new password, 10 to 1,024 characters.")]
RefreshToken = Annotated[str, strawberry.argument(description="The refresh token of the session.")]


@strawberry.type
class SessionQueries:
    @strawberry.field(description="Who asks, with which device.")
    async def me(self, info: Info) -> Me:
        return _me(await info.context.sessions.me(info.context.caller))

    @strawberry.field(description="The key a device encrypts a rescue file for. Keep it from every sign-in.")
    def rescue_key(self, info: Info) -> RescueKey:
        keys = info.context.rescue_keys
        return RescueKey(kid=keys.kid, public_key=urlsafe_b64encode(keys.public).rstrip(b"=").decode())


@strawberry.type
class SessionMutations:
    @strawberry.mutation(description="Begin a session on a device, which is registered by it.")
    async def sign_in(
        self,
        info: Info,
        email: Annotated[str, strawberry.argument(description="The colleague's e-mail address.")],
        password: Annotated[str, strawberry.argument(description="The password.")],
        device: Annotated[DeviceInput, strawberry.argument(description="The device.")],
    ) -> SignInResult:
        given = DeviceGiven(device.id, device.name, device.platform)
        try:
            context = info.context
            return _session(await context.sessions.sign_in(email, password, given, address=context.address))
        except Refused as refused:
            return refuse(info, refused)

    @strawberry.mutation(
        description="Go on with a session. When the answer was lost, asking again within 30 seconds gives the same."
    )
    async def refresh(self, info: Info, refresh_token: RefreshToken) -> RefreshResult:
        try:
            return _session(await info.context.sessions.refresh(refresh_token))
        except Refused as refused:
            return refuse(info, refused)

    @strawberry.mutation(
        description="End a session: both its tokens are refused from now on. Refused with UNSENT_WORK while the device"
        " holds work that nobody has: sync first, or write a rescue file."
    )
    async def sign_out(
        self,
        info: Info,
        refresh_token: RefreshToken,
        unsent: Annotated[
            int | None,
            strawberry.argument(description="Mutations not answered yet; without it the device's last report counts."),
        ] = None,
        rescued: Annotated[
            bool, strawberry.argument(description="They were written into a rescue file that is kept.")
        ] = False,
    ) -> SignOutResult:
        try:
            await info.context.sessions.sign_out(refresh_token, unsent=unsent, rescued=rescued)
        except Refused as refused:
            return refuse(info, refused)
        return SignedOut(ok=True)

    @strawberry.mutation(description="Set one's own password anew. Sign-ins on one's other devices end.")
    async def change_password(
        self,
        info: Info,
        current_password: Annotated[str, strawberry.argument(description="The password until now.")],
        new_password: NewPassword,
    ) -> PasswordResult:
        try:
            await info.context.sessions.change_password(info.context.caller, current_password, new_password)
        except Refused as refused:
            return refuse(info, refused)
        return PasswordChanged(ok=True)

    @strawberry.mutation(
        description="Let a colleague who forgot his password set a new one. The token is handed over in person."
        " For admins."
    )
    async def begin_password_reset(
        self, info: Info, user_id: Annotated[strawberry.ID, strawberry.argument(description="Who.")]
    ) -> PasswordResetResult:
        context = info.context
        hours = context.settings.password_reset_hours
        try:
            token = await tell(context, lambda work: begin_reset(work, user_id, hours=hours))
        except Refused as refused:
            return refuse(info, refused)
        return PasswordResetBegun(token=token, expires_at=Instant(context.now_ms + hours * HOUR_MS))

    @strawberry.mutation(description="Set a new password with a one-time token. All of one's sign-ins end.")
    async def reset_password(
        self,
        info: Info,
        token: Annotated[str, strawberry.argument(description="As an admin handed it over.")],
        new_password: NewPassword,
    ) -> PasswordResult:
        try:
            await info.context.sessions.reset_password(token, new_password)
        except Refused as refused:
            return refuse(info, refused)
        return PasswordChanged(ok=True)

    @strawberry.mutation(description="Begin to sign in with the company's provider (OpenID Connect with PKCE).")
    async def begin_oidc_sign_in(
        self,
        info: Info,
        redirect_uri: Annotated[str, strawberry.argument(description="Where the browser comes back to.")],
        code_challenge: Annotated[
            str, strawberry.argument(description="SHA-256 of a secret the client made and keeps, in base64url (S256).")
        ],
        device_id: Annotated[strawberry.ID, strawberry.argument(description="The device that will sign in.")],
    ) -> OidcBeginResult:
        try:
            begun = await info.context.oidc.begin(
                redirect_uri=redirect_uri, challenge=code_challenge, device_id=device_id
            )
        except Refused as refused:
            return refuse(info, refused)
        return OidcBegun(
            authorization_url=begun.authorization_url,
            state=begun.state,
            nonce=begun.nonce,
            expires_at=Instant(begun.expires_at_ms),
        )

    @strawberry.mutation(
        description="Begin a session for whom the company's provider vouches for, by the code the browser brought back"
        " or by an ID token that names the nonce."
    )
    async def sign_in_with_oidc(
        self,
        info: Info,
        state: Annotated[str, strawberry.argument(description="As `beginOidcSignIn` told it.")],
        code_verifier: Annotated[str, strawberry.argument(description="The secret behind the challenge.")],
        device: Annotated[DeviceInput, strawberry.argument(description="The device it began on.")],
        code: Annotated[str | None, strawberry.argument(description="As the browser brought it back.")] = None,
        id_token: Annotated[str | None, strawberry.argument(description="Instead of a code.")] = None,
    ) -> SignInResult:
        given = DeviceGiven(device.id, device.name, device.platform)
        try:
            return _session(await info.context.oidc.finish(Proof(state, code_verifier, code, id_token), given))
        except Refused as refused:
            return refuse(info, refused)


def _session(opened: OpenedSession) -> Session:
    return Session(
        access_token=opened.access_token,
        access_token_expires_at=Instant(opened.access_expires_at_ms),
        refresh_token=opened.refresh_token,
        refresh_token_expires_at=Instant(opened.refresh_expires_at_ms),
        user_id=strawberry.ID(opened.user_id),
        device_id=strawberry.ID(opened.device_id),
        device_state=opened.device_state,
    )


def _me(found: FoundMe) -> Me:
    return Me(
        id=strawberry.ID(found.user_id),
        name=found.name,
        email=found.email,
        role=Role(found.role),
        locale=found.locale,
        device=MyDevice(
            id=strawberry.ID(found.device_id),
            name=found.device_name,
            platform=found.device_platform,
            state=found.device_state,
        ),
    )
