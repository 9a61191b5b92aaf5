// Answers what flags give to a workspace, by other people's OpenFeature providers, as long as somebody asks.
// Reads {provider, host, port, ca, token} as the first line of standard input, and then a flag's key on each line, for
// which it writes {value, variant}. Says "ready" first.
import { createInterface } from 'node:readline';
import grpc from '@grpc/grpc-js';

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const given = JSON.parse((await lines.next()).value);
const authorization = `Bearer ${given.token}`;

async function flagd() {
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
  const { FlagdProvider } = await import('@openfeature/flagd-provider');
  const { OpenFeature } = await import('@openfeature/server-sdk');
  const { host, port } = given;
  const provider = new FlagdProvider({ host, port, tls: true, certPath: given.ca, resolverType: 'rpc', deadlineMs: 60_000 });
  return { OpenFeature, provider };
}

async function web() {
  const { OFREPWebProvider } = await import('@openfeature/ofrep-web-provider');
  const { OpenFeature } = await import('@openfeature/web-sdk');
  const baseUrl = `https://${given.host}:${given.port}`;
  const options = { baseUrl, headers: [['authorization', authorization]], pollInterval: 200, cacheMode: 'disabled' };
  return { OpenFeature, provider: new OFREPWebProvider(options) };
}

const { OpenFeature, provider } = await { flagd, web }[given.provider]();
await OpenFeature.setProviderAndWait(provider);
const client = OpenFeature.getClient();
console.log(JSON.stringify('ready'));
for await (const key of lines) {
  const { value, variant } = await client.getStringDetails(key, 'of the code');
  console.log(JSON.stringify({ value, variant: variant ?? '' }));
}
await OpenFeature.close();
process.exit(0);
