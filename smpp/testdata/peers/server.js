// node-smpp as an SMSC. README.md says what it does.
'use strict';
const smpp = require('smpp');
const { describe, tell } = require('./common');

const [systemID, password, expected, ...bodies] = process.argv.slice(2);
const taken = [];

const server = smpp.createServer((session) => {
  session.on('bind_transceiver', (pdu) => {
    const ok = pdu.system_id === systemID && pdu.password === password;
    session.send(pdu.response(ok ? { system_id: 'node' } : { command_status: smpp.ESME_RINVPASWD }));
  });
  session.on('submit_sm', (pdu) => {
    const id = `n${taken.length + 1}`;
    taken.push({ id, pdu });
    tell('submit_sm', { id, ...describe(pdu) });
    session.send(pdu.response({ message_id: id }));
    if (taken.length === Number(expected)) answer(session);
  });
  session.on('enquire_link', (pdu) => session.send(pdu.response()));
  session.on('unbind', (pdu) => {
    tell('unbind');
    session.send(pdu.response(), () => session.close());
    server.close();
  });
  session.on('error', (err) => {
    console.error(err);
    process.exit(1);
  });
});

// answer sends what an SMSC has to tell: a receipt for each message, then
// messages of its own, and enquire_link.
function answer(session) {
  taken.forEach(({ id, pdu }, i) => {
    const stat = i === 0 ? 'DELIVRD' : 'UNDELIV';
    deliver(session, pdu, {
      esm_class: smpp.ESM_CLASS.MC_DELIVERY_RECEIPT,
      short_message: Buffer.from(`id:${id} sub:001 dlvrd:001 submit date:2611221030 done date:2611221031 stat:${stat} err:000 text:`),
    });
  });
  for (const hex of bodies) {
    deliver(session, taken[0].pdu, {
      esm_class: smpp.ESM_CLASS.UDH_INDICATOR,
      protocol_id: 0x7f,
      data_coding: 0xf6,
      short_message: Buffer.from(hex, 'hex'),
    });
  }
  session.enquire_link((pdu) => told(session, pdu, 'enquire_link_resp'));
}

// deliver sends a deliver_sm to who sent the message, from whom it went to.
function deliver(session, pdu, fields) {
  session.deliver_sm({
    source_addr_ton: pdu.dest_addr_ton,
    source_addr_npi: pdu.dest_addr_npi,
    source_addr: pdu.destination_addr,
    dest_addr_ton: pdu.source_addr_ton,
    dest_addr_npi: pdu.source_addr_npi,
    destination_addr: pdu.source_addr,
    ...fields,
  }, (answered) => told(session, answered, 'deliver_sm_resp'));
}

// told tells of a response. node-smpp finds the request by sequence number
// alone, so the command is looked at here.
function told(session, pdu, command) {
  tell(command, { status: pdu.command_status, expected: pdu.command === command && !pdu.message_id });
}

// The end of stdin means that whoever asked has gone.
process.stdin.resume();
process.stdin.on('end', () => process.exit(1));

server.listen(0, '127.0.0.1', () => tell('listening', { port: server.address().port }));
server.on('close', () => process.exit(0));
