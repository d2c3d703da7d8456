// Measures how many submit_sm a second an SMSC answers: node bench.js HOST PORT
// WINDOW SECONDS keeps WINDOW submit_sm unanswered, and tells at the end, in one
// line of JSON, how many were answered in how many seconds. The bind can be
// given as SYSTEM_ID and PASSWORD in the environment.
'use strict';
const smpp = require('smpp');

const [host, port, window, seconds] = process.argv.slice(2);
if (!seconds) {
  console.error('usage: node bench.js HOST PORT WINDOW SECONDS');
  process.exit(2);
}

// 140 octets of short_message, and 190 of PDU.
const body = Buffer.concat([Buffer.from([2, 0x70, 0]), Buffer.alloc(137, 0xa5)]);
const message = {
  source_addr_ton: 5,
  source_addr: 'bench',
  dest_addr_ton: 1,
  dest_addr_npi: 1,
  destination_addr: '994500000001',
  esm_class: smpp.ESM_CLASS.UDH_INDICATOR,
  protocol_id: 0x7f,
  data_coding: 0xf6,
  short_message: body,
};

let submits = 0;
let done = false;

function fail(why) {
  console.error(why);
  process.exit(1);
}

function submit() {
  session.submit_sm(message, (pdu) => {
    if (pdu.command_status) fail(`submit_sm: status ${pdu.command_status}`);
    if (done) return;
    submits++;
    submit();
  });
}

const session = smpp.connect({ host, port: Number(port), noDelay: true }, () => {
  session.bind_transceiver({
    system_id: process.env.SYSTEM_ID || 'imza',
    password: process.env.PASSWORD || 'secret',
  }, (pdu) => {
    if (pdu.command_status) fail(`bind: status ${pdu.command_status}`);
    const began = process.hrtime.bigint();
    for (let i = 0; i < Number(window); i++) submit();
    setTimeout(() => {
      done = true;
      const took = Number(process.hrtime.bigint() - began) / 1e9;
      console.log(JSON.stringify({ submits, seconds: took }));
      session.unbind(() => session.close(() => process.exit(0)));
    }, Number(seconds) * 1000);
  });
});
session.on('enquire_link', (pdu) => session.send(pdu.response()));
session.on('error', (err) => fail(err));
