// What Node programs do: each check is a line, `@ ok|failed <name>`.
const assert = require('assert');
const child = require('child_process');
const cluster = require('cluster');
const crypto = require('crypto');
const dgram = require('dgram');
const dns = require('dns');
const events = require('events');
const fs = require('fs');
const http = require('http');
const net = require('net');
const os = require('os');
const path = require('path');
const stream = require('stream/promises');
const workers = require('worker_threads');
const zlib = require('zlib');

const folder = fs.mkdtempSync(path.join(process.cwd(), 'node-'));
const file = path.join(folder, 'file');
const closed = (thing) => new Promise((done) => thing.close(done));
const checks = {
  'a file': async () => {
    await fs.promises.writeFile(file, 'x'.repeat(1e6));
    assert.equal((await fs.promises.stat(file)).size, 1e6);
    await fs.promises.copyFile(file, `${file}2`);
    await fs.promises.rename(`${file}2`, `${file}3`);
    await fs.promises.rm(`${file}3`);
  },
  'a tree': async () => {
    await fs.promises.mkdir(path.join(folder, 'a/b/c'), { recursive: true });
    await fs.promises.cp(path.join(folder, 'a'), path.join(folder, 'd'), { recursive: true });
    await fs.promises.rm(path.join(folder, 'a'), { recursive: true });
  },
  'a stream through gzip': async () => {
    await stream.pipeline(fs.createReadStream(file), zlib.createGzip(), fs.createWriteStream(`${file}.gz`));
  },
  'a watched file': async () => {
    const watcher = fs.watch(folder);
    const seen = events.once(watcher, 'change');
    await fs.promises.writeFile(path.join(folder, 'new'), '');
    await seen;
    watcher.close();
  },
  'a child': async () => {
    assert.equal(child.execFileSync('echo', ['hello']).toString(), 'hello\n');
    const process = child.spawn('cat');
    process.stdin.end('x');
    assert.equal((await events.once(process, 'close'))[0], 0);
  },
  'a fork with messages': async () => {
    const script = path.join(folder, 'other.js');
    fs.writeFileSync(script, 'process.on("message", (m) => { process.send(m + 1); process.disconnect(); })');
    const other = child.fork(script);
    other.send(41);
    assert.equal((await events.once(other, 'message'))[0], 42);
  },
  'a cluster': async () => {
    const program = 'const c = require("cluster"); if (c.isPrimary) { c.fork().on("exit", (n) => process.exit(n)); } else { process.exit(0); }';
    const script = path.join(folder, 'cluster.js');
    fs.writeFileSync(script, program);
    assert.ok(cluster.isPrimary);
    child.execFileSync(process.execPath, [script]);
  },
  'a worker': async () => {
    const worker = new workers.Worker('require("worker_threads").parentPort.postMessage(42)', { eval: true });
    assert.equal((await events.once(worker, 'message'))[0], 42);
    await worker.terminate();
  },
  'http over IPv4': async () => {
    const server = http.createServer((_, answer) => answer.end('hello')).listen(0, '127.0.0.1');
    await events.once(server, 'listening');
    const got = await new Promise((done) => http.get({ port: server.address().port, host: '127.0.0.1', agent: false }, done));
    assert.equal(Buffer.concat(await got.toArray()).toString(), 'hello');
    await closed(server);
  },
  'a server on every address': async () => {
    const server = net.createServer().listen(0);
    await events.once(server, 'listening');
    await closed(server);
  },
  'a server on IPv6': async () => {
    const server = net.createServer().listen(0, '::1');
    await events.once(server, 'listening');
    await closed(server);
  },
  'a socket of the file system': async () => {
    const server = net.createServer((one) => one.end()).listen(path.join(folder, 'socket'));
    await events.once(server, 'listening');
    const one = net.connect(path.join(folder, 'socket'));
    one.resume();
    await events.once(one, 'close');
    await closed(server);
  },
  datagrams: async () => {
    const socket = dgram.createSocket('udp4');
    socket.bind(0, '127.0.0.1');
    await events.once(socket, 'listening');
    const got = events.once(socket, 'message');
    socket.send('x', socket.address().port, '127.0.0.1');
    assert.equal((await got)[0].toString(), 'x');
    socket.close();
  },
  'a name': async () => {
    assert.equal((await dns.promises.lookup('localhost', { family: 4 })).address, '127.0.0.1');
  },
  'the machine': async () => {
    for (const what of ['cpus', 'networkInterfaces', 'loadavg', 'userInfo', 'uptime', 'freemem']) os[what]();
    assert.equal(os.getPriority(), 0);
    os.setPriority(0, 1);
  },
  cryptography: async () => {
    crypto.randomBytes(64);
    crypto.scryptSync('a', 'b', 64);
    crypto.generateKeyPairSync('ed25519');
    crypto.createHash('sha256').update('x').digest();
  },
  WebAssembly: async () => {
    await WebAssembly.compile(Uint8Array.from([0, 97, 115, 109, 1, 0, 0, 0]));
  },
  'a signal': async () => {
    const got = events.once(process, 'SIGUSR2');
    process.kill(process.pid, 'SIGUSR2');
    await got;
  },
};

// Ended before its end, it has failed.
process.exitCode = 1;
setInterval(() => {}, 1000);
(async () => {
  for (const [name, check] of Object.entries(checks)) {
    try {
      await check();
      console.log('@ ok', name);
    } catch (error) {
      console.log(name, error);
      console.log('@ failed', name);
    }
  }
  process.exit(0);
})();
