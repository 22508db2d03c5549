// One worker of graphile-worker for `make bench-peers`: jobs that do nothing, and when each was due and started.
import { EventEmitter, once } from "node:events";
import { writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";

const USAGE = `usage: index.mjs create URL
       index.mjs insert URL --count N [--due MS] [--spread MS] [--mode best|default]
       index.mjs work URL [--mode best|default] [--record FILE] [--history]`;
const TASK = "noop";
const BATCH = 5_000; // jobs in one call

// `best`: docs/performance, "the above stats were achieved with"; and the shortest wait of a timer, for its FAQ says
// that jobs of the future are polled for, as often as they must be exact. `default`: the quick start of docs/library.
const SETTINGS = {
  best: {
    concurrentJobs: 24,
    maxPoolSize: 25,
    pollInterval: 1,
    localQueue: { size: 500 },
    completeJobBatchDelay: 0,
    failJobBatchDelay: 0,
  },
  default: { concurrentJobs: 5, pollInterval: 1000 },
};

// It deletes a job that has ended. What is kept instead is what its handler writes, which has a connection of the
// worker's pool but not the transaction that the job ends in.
const HISTORY = `CREATE TABLE IF NOT EXISTS bench_history (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  job_id bigint NOT NULL,
  state text NOT NULL,
  started_at timestamptz NOT NULL,
  finished_at timestamptz NOT NULL DEFAULT clock_timestamp()
)`;
const KEEP = {
  name: "keep",
  text: "INSERT INTO bench_history (job_id, state, started_at) VALUES ($1, 'SUCCEEDED', to_timestamp($2))",
};

function parse(words) {
  const { values, positionals } = parseArgs({
    args: words,
    allowPositionals: true,
    options: {
      count: { type: "string", default: "0" },
      due: { type: "string", default: "0" },
      spread: { type: "string", default: "0" },
      mode: { type: "string", default: "best" },
      record: { type: "string" },
      history: { type: "boolean", default: false },
    },
  });
  const [verb, url] = positionals;
  if (url === undefined || !(verb in VERBS)) throw new Error(USAGE);
  if (!(values.mode in SETTINGS)) throw new Error(`--mode is best or default, not ${values.mode}`);
  const numbers = { count: Number(values.count), due: Number(values.due), spread: Number(values.spread) };
  return { ...values, ...numbers, verb, url };
}

// Milliseconds since 1970 with a fraction: the fine clock may drift from the wall clock, so the wall clock bounds it.
function now() {
  const wall = Date.now();
  return Math.min(Math.max(performance.timeOrigin + performance.now(), wall), wall + 0.999);
}

// At its defaults it prints a line for each job; standard output is kept for `ready`.
function logger(Logger, mode) {
  const heard = mode === "best" ? ["error", "warning"] : ["error", "warning", "info"];
  return new Logger(() => (level, message) => {
    if (heard.includes(level)) process.stderr.write(`${level}: ${message}\n`);
  });
}

async function withUtils({ url }, act) {
  const { makeWorkerUtils } = await import("graphile-worker");
  const utils = await makeWorkerUtils({ connectionString: url });
  try {
    await act(utils);
  } finally {
    await utils.release();
  }
}

async function create(asked) {
  await withUtils(asked, async (utils) => {
    await utils.migrate();
    await utils.withPgClient((client) => client.query(HISTORY));
  });
}

// A Date holds whole milliseconds, so the payload carries those: nothing may look early by rounding.
function job(i, { count, due, spread }) {
  if (due === 0) return { identifier: TASK, payload: { due_ms: 0 } };
  const at = Math.floor(due + (i * spread) / count);
  return { identifier: TASK, payload: { due_ms: at }, runAt: new Date(at) };
}

async function insert(asked) {
  await withUtils(asked, async (utils) => {
    for (let first = 0; first < asked.count; first += BATCH) {
      const length = Math.min(BATCH, asked.count - first);
      await utils.addJobs(Array.from({ length }, (_, i) => job(first + i, asked)));
    }
  });
}

function handler({ record, history }, starts) {
  return async (payload, helpers) => {
    const started = now();
    if (record !== undefined) starts.push([payload.due_ms, started]);
    if (!history) return;
    const values = [helpers.job.id, started / 1000];
    await helpers.withPgClient((client) => client.query({ ...KEEP, values }));
  };
}

async function work(asked) {
  const ending = once(process, "SIGTERM");
  if (asked.mode === "best") process.env.NO_LOG_SUCCESS = "1"; // read when it is loaded, as its own perfTest has it
  const { Logger, WorkerPreset, run } = await import("graphile-worker");
  const starts = [];
  const events = new EventEmitter();
  const listening = once(events, "pool:listen:success");
  const runner = await run({
    preset: {
      extends: [WorkerPreset],
      worker: { ...SETTINGS[asked.mode], connectionString: asked.url, logger: logger(Logger, asked.mode), events },
    },
    taskList: { [TASK]: handler(asked, starts) },
    noHandleSignals: true,
  });
  await Promise.race([listening, runner.promise]);
  console.log("ready");
  await Promise.race([ending, runner.promise]);
  await runner.stop();
  if (asked.record !== undefined) {
    await writeFile(asked.record, starts.map(([due, started]) => `${due.toFixed(3)},${started.toFixed(3)}\n`).join(""));
  }
}

const VERBS = { create, insert, work };

try {
  const asked = parse(process.argv.slice(2));
  await VERBS[asked.verb](asked);
} catch (error) {
  console.error(`graphile-worker: ${error.stack ?? error}`);
  process.exitCode = 1;
}
