// A rescue file written with WebCrypto alone, as a phone or a browser has it, by the page of the contract.
const { content, kid, publicKey } = JSON.parse(process.env.ORDERS);
const { subtle } = globalThis.crypto;
const FORMAT = 'selvedge-rescue-1';
const bytes = (text) => new TextEncoder().encode(text);
const encoded = (data) => Buffer.from(data).toString('base64url');

const curve = { name: 'ECDH', namedCurve: 'P-256' };
const theirs = await subtle.importKey('raw', Buffer.from(publicKey, 'base64url'), curve, false, []);
const own = await subtle.generateKey(curve, true, ['deriveBits']);
const point = new Uint8Array(await subtle.exportKey('raw', own.publicKey));
const agreed = await subtle.deriveBits({ name: 'ECDH', public: theirs }, own.privateKey, 256);
const material = await subtle.importKey('raw', agreed, 'HKDF', false, ['deriveKey']);
const key = await subtle.deriveKey(
  { name: 'HKDF', hash: 'SHA-256', salt: point, info: bytes(`${FORMAT}.${kid}`) },
  material,
  { name: 'AES-GCM', length: 256 },
  false,
  ['encrypt'],
);
const iv = globalThis.crypto.getRandomValues(new Uint8Array(12));
const sealed = await subtle.encrypt(
  { name: 'AES-GCM', iv, additionalData: bytes(`${FORMAT}.${kid}.${encoded(point)}`) },
  key,
  bytes(JSON.stringify(content)),
);
const file = { format: FORMAT, kid, key: encoded(point), iv: encoded(iv), sealed: encoded(sealed) };
console.log(JSON.stringify({ check: 'a file is written', ok: true, file }));
