// Plays scenarios of flagd-testbed with the provider for Node.js, as it is on npm.
// Reads {mode, acts, options, door} from standard input, one scenario a line. For what the server is to do it writes
// {ward: act} and waits for the next line; in the end it writes {failed: why}, or {failed: ''}.
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { isDeepStrictEqual } from 'node:util';
import grpc from '@grpc/grpc-js';
import { FlagdProvider } from '@openfeature/flagd-provider';
import { OpenFeature } from '@openfeature/server-sdk';

const EVENT_SECONDS = 30;
const EVENTS = {
  ready: 'PROVIDER_READY',
  stale: 'PROVIDER_STALE',
  error: 'PROVIDER_ERROR',
  change: 'PROVIDER_CONFIGURATION_CHANGED',
};
const ASK = { Boolean: 'Boolean', String: 'String', Integer: 'Number', Float: 'Number', Object: 'Object' };

class Failed extends Error {}

// The scenarios make clients complain, as they are meant to.
const nothing = () => {};
const quiet = { error: nothing, warn: nothing, info: nothing, debug: nothing };
OpenFeature.setLogger(quiet);

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = (what) => console.log(JSON.stringify(what));

// The provider has options neither for a token nor for a certificate of a client: whoever needs them puts them on the
// credentials that it makes.
let door;
const { createSsl } = grpc.credentials;
grpc.credentials.createSsl = (roots) => {
  const key = door.key ? readFileSync(door.key) : null;
  const tls = createSsl(roots, key, door.certificate ? readFileSync(door.certificate) : null);
  if (!door.token) return tls;
  const authorization = `Bearer ${door.token}`;
  return grpc.credentials.combineChannelCredentials(
    tls,
    grpc.credentials.createFromMetadataGenerator((_, done) => {
      const metadata = new grpc.Metadata();
      metadata.set('authorization', authorization);
      done(null, metadata);
    }),
  );
};

// What a client was told of, in order. Each is taken once, and none before one that was taken.
class Events {
  told = [];
  taken = 0;
  waiting = () => {};

  tell(event, details) {
    this.told.push({ event, details });
    this.waiting();
  }

  async take(event, seconds) {
    const ends = Date.now() + seconds * 1000;
    for (;;) {
      const place = this.told.findIndex((each, index) => index >= this.taken && each.event === event);
      if (place >= 0) {
        this.taken = place + 1;
        return this.told[place].details;
      }
      const left = ends - Date.now();
      if (left <= 0) {
        const after = this.told.slice(this.taken).map((each) => each.event).join(', ') || 'nothing';
        throw new Failed(`no ${event} event within ${seconds} s, but ${after}`);
      }
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, left);
        this.waiting = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }
}

async function play({ mode, acts, options }, domain) {
  const client = OpenFeature.getClient(domain);
  const events = new Events();
  const context = {};
  let flag, answer, change;
  const shown = (value) => JSON.stringify(value) ?? 'undefined';
  const ward = async (act) => {
    say({ ward: act });
    await lines.next();
  };
  const doing = {
    option: ({ name, value }) => {
      options[name] = value;
    },
    provider: async () => {
      const where = { host: 'localhost', port: door.port, tls: true, certPath: door.ca };
      const provider = new FlagdProvider({ ...options, ...where, resolverType: mode }, quiet);
      // What becomes of one that cannot be ready is told by its events.
      await OpenFeature.setProviderAndWait(domain, provider).catch(() => {});
    },
    flag: (act) => {
      flag = act;
    },
    context: ({ key, value }) => {
      context[key] = value;
    },
    handler: ({ event }) => client.addHandler(EVENTS[event], (details) => events.tell(event, details)),
    fired: async ({ event, within }) => {
      const details = await events.take(event, within ?? EVENT_SECONDS);
      if (event === 'change') change = details;
    },
    lost: ward,
    change: ward,
    evaluate: async () => {
      answer = await client[`get${ASK[flag.kind]}Details`](flag.key, flag.default, context);
    },
    expect: ({ what, wanted }) => {
      const found = what === 'error' ? answer.errorCode : answer[what];
      const none = wanted === '' && (found === undefined || found === null);
      if (!none && !isDeepStrictEqual(found, wanted)) {
        throw new Failed(`${what} of ${flag.key} is ${shown(found)}, and not ${shown(wanted)}`);
      }
    },
    metadata: ({ wanted }) => {
      const found = answer.flagMetadata;
      if (Object.keys(wanted).some((key) => found[key] !== wanted[key])) {
        throw new Failed(`metadata of ${flag.key} are ${shown(found)}, and not ${shown(wanted)}`);
      }
    },
    'no metadata': () => {
      if (Object.keys(answer.flagMetadata).length) {
        throw new Failed(`${flag.key} has metadata ${shown(answer.flagMetadata)}`);
      }
    },
    payload: () => {
      // No other flag has changed, and none is to be told of.
      if (!isDeepStrictEqual(change?.flagsChanged, [flag.key])) {
        throw new Failed(`${shown(change?.flagsChanged)} changed, and not ${shown(flag.key)} alone`);
      }
    },
    fatal: () => {
      if (client.providerStatus !== 'FATAL') {
        throw new Failed(`the client's state is ${client.providerStatus}, and not fatal`);
      }
    },
  };
  for (const act of acts) await doing[act.do](act);
}

let number = 0;
for (;;) {
  const { value, done } = await lines.next();
  if (done) break;
  const scenario = JSON.parse(value);
  door = scenario.door;
  let failed = '';
  try {
    number += 1;
    await play(scenario, `scenario-${number}`);
  } catch (problem) {
    failed = problem instanceof Failed ? problem.message : `${problem?.stack ?? problem}`;
  }
  await OpenFeature.clearProviders();
  OpenFeature.clearHandlers();
  say({ failed });
}
process.exit(0);
