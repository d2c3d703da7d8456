// What client.js and server.js share: the events that they tell.
'use strict';

// tell writes one event as a line of JSON.
function tell(event, fields) {
  process.stdout.write(`${JSON.stringify({ event, ...fields })}\n`);
}

// octets puts a short_message together again, which node-smpp takes apart. The
// text must still be octets: node-smpp decodes it for the data codings it knows.
function octets({ udh, message }) {
  if (!Buffer.isBuffer(message)) throw new Error(`short_message was decoded: ${message}`);
  if (!udh) return message;
  const header = Buffer.concat(udh);
  return Buffer.concat([Buffer.from([header.length]), header, message]);
}

// describe is a submit_sm or deliver_sm as node-smpp read it.
function describe(pdu) {
  return {
    source: pdu.source_addr,
    dest: pdu.destination_addr,
    esm_class: pdu.esm_class,
    protocol_id: pdu.protocol_id,
    data_coding: pdu.data_coding,
    registered_delivery: pdu.registered_delivery,
    hex: octets(pdu.short_message).toString('hex'),
  };
}

// receipt is a receipt as node-smpp read it. The text and the TLVs must agree.
function receipt(pdu) {
  const [, id, stat] = /^id:(\S+) .* stat:(\S+) /.exec(pdu.short_message.message);
  const state = { 2: 'DELIVRD', 5: 'UNDELIV' }[pdu.message_state];
  if (pdu.receipted_message_id !== id || state !== stat) {
    throw new Error(`${id} ${stat}, by its TLVs ${pdu.receipted_message_id} ${state}`);
  }
  return { id, stat };
}

module.exports = { describe, receipt, tell };
