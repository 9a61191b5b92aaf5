// Asks the mesh for flags as other people's OpenFeature providers do, which are told an address and a token.
// Reads {provider, host, port, ca, token, key} as the first line of standard input. Writes a line with what the flag
// gives, and another one after the next change: as soon as the provider tells of it, or, where a provider tells of
// nothing, when the second line comes.
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import grpc from '@grpc/grpc-js';

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const given = JSON.parse((await lines.next()).value);
const authorization = `Bearer ${given.token}`;
const baseUrl = `https://${given.host}:${given.port}`;

// The provider has no option for a token: whoever needs one puts it on the credentials that it makes.
const { createSsl } = grpc.credentials;
grpc.credentials.createSsl = (...options) =>
  grpc.credentials.combineChannelCredentials(
    createSsl(...options),
    grpc.credentials.createFromMetadataGenerator((_, done) => {
      const metadata = new grpc.Metadata();
      metadata.set('authorization', authorization);
      done(null, metadata);
    }),
  );

async function flagd(resolverType) {
  const { FlagdProvider } = await import('@openfeature/flagd-provider');
  const { OpenFeature } = await import('@openfeature/server-sdk');
  const { host, port } = given;
  const provider = new FlagdProvider({ host, port, tls: true, certPath: given.ca, resolverType, deadlineMs: 60_000 });
  return { OpenFeature, provider, tells: true };
}

async function ofrep() {
  const { OFREPProvider } = await import('@openfeature/ofrep-provider');
  const { OpenFeature } = await import('@openfeature/server-sdk');
  return { OpenFeature, provider: new OFREPProvider({ baseUrl, headers: [['authorization', authorization]] }) };
}

async function web() {
  const { OFREPWebProvider } = await import('@openfeature/ofrep-web-provider');
  const { OpenFeature } = await import('@openfeature/web-sdk');
  const options = { baseUrl, headers: [['authorization', authorization]], pollInterval: 200, cacheMode: 'disabled' };
  return { OpenFeature, provider: new OFREPWebProvider(options), tells: true };
}

const KINDS = { rpc: () => flagd('rpc'), 'in-process': () => flagd('in-process'), ofrep, web };
const { OpenFeature, provider, tells } = await KINDS[given.provider]();
await OpenFeature.setProviderAndWait(provider);
const client = OpenFeature.getClient();

async function say() {
  const boolean = await client.getBooleanDetails(given.key, true);
  const text = await client.getStringDetails(`${given.key}-text`, '?');
  const number = await client.getNumberDetails(`${given.key}-number`, 0);
  const object = await client.getObjectDetails(`${given.key}-object`, {});
  const none = await client.getStringDetails(`${given.key}-none`, 'of the code');
  const wrong = await client.getStringDetails(given.key, 'of the code');
  console.log(JSON.stringify({
    boolean: [boolean.value, boolean.variant, boolean.reason], text: text.value, number: number.value,
    object: object.value, none: [none.value, none.errorCode], wrong: [wrong.value, wrong.errorCode],
  }));
}

await say();
if (tells) {
  await new Promise((resolve) => {
    client.addHandler('PROVIDER_CONFIGURATION_CHANGED', (details) => {
      if (!details?.flagsChanged || details.flagsChanged.includes(given.key)) resolve();
    });
    console.log(JSON.stringify('listening'));
  });
} else {
  console.log(JSON.stringify('listening'));
  await lines.next();
}
await say();
await OpenFeature.close();
process.exit(0);
