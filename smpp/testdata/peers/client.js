// node-smpp as an ESME. README.md says what it does.
'use strict';
const readline = require('node:readline');
const smpp = require('smpp');
const { describe, receipt, tell } = require('./common');

const [host, port, systemID, password, source, dest] = process.argv.slice(2);

const session = smpp.connect({ host, port: Number(port) }, () => {
  session.bind_transceiver({ system_id: systemID, password }, (pdu) => {
    tell('bound', { status: pdu.command_status });
    session.enquire_link();
  });
});

// A Buffer goes out as it is; a string would be recoded.
function submit(hex) {
  session.submit_sm({
    source_addr_ton: 5,
    source_addr: source,
    dest_addr_ton: 1,
    dest_addr_npi: 1,
    destination_addr: dest,
    esm_class: smpp.ESM_CLASS.UDH_INDICATOR,
    protocol_id: 0x7f,
    data_coding: 0xf6,
    registered_delivery: 1,
    short_message: Buffer.from(hex, 'hex'),
  }, (pdu) => tell('submit_sm_resp', { id: pdu.message_id, status: pdu.command_status }));
}

session.on('deliver_sm', (pdu) => {
  if (pdu.esm_class & smpp.ESM_CLASS.MC_DELIVERY_RECEIPT) {
    tell('receipt', receipt(pdu));
  } else {
    tell('deliver_sm', describe(pdu));
  }
  session.send(pdu.response());
});

// node-smpp answers nothing by itself.
session.on('enquire_link', (pdu) => session.send(pdu.response()));
session.on('error', (err) => {
  console.error(err);
  process.exit(1);
});

// Each line of stdin is a short_message to submit; its end is the word to unbind.
const lines = readline.createInterface({ input: process.stdin });
lines.on('line', submit);
lines.on('close', () => session.unbind(() => {
  tell('unbind_resp');
  session.close(() => process.exit(0));
}));
