# Net::SMPP as an SMSC. README.md says what it does.
use strict;
use warnings;
use JSON::PP;
use Net::SMPP;

$| = 1;
my ($system_id, $password, $expected, @bodies) = @ARGV;
my @taken;
my %asked;    # sequence number: the command of our request

sub tell_event {
    my ($event, %fields) = @_;
    print JSON::PP->new->canonical->encode({ event => $event, %fields }), "\n";
}

# Asynchronous: a request returns at once with its sequence number, and
# responses are read like all else.
my $listener = Net::SMPP->new_listen('127.0.0.1', port => 0, async => 1) or die "listen: $!";
tell_event('listening', port => $listener->sockport);
my $session = $listener->accept or die "accept: $!";

# deliver sends a deliver_sm to who sent the message, from whom it went to.
sub deliver {
    my ($to, @fields) = @_;
    my $sequence = $session->deliver_sm(
        source_addr_ton  => $to->{dest_addr_ton},
        source_addr_npi  => $to->{dest_addr_npi},
        source_addr      => $to->{destination_addr},
        dest_addr_ton    => $to->{source_addr_ton},
        dest_addr_npi    => $to->{source_addr_npi},
        destination_addr => $to->{source_addr},
        @fields,
    ) or die 'deliver_sm';
    $asked{$sequence} = Net::SMPP::CMD_deliver_sm;
}

# answer sends what an SMSC has to tell: a receipt for each message, then
# messages of its own, and enquire_link.
sub answer {
    for my $i (0 .. $#taken) {
        my $stat = $i == 0 ? 'DELIVRD' : 'UNDELIV';
        my $id = $taken[$i]{id};
        deliver($taken[$i]{pdu}, esm_class => 0x04,
            short_message => "id:$id sub:001 dlvrd:001 submit date:2611221030 done date:2611221031 stat:$stat err:000 text:",
            receipted_message_id => "$id\0", message_state => pack('C', $i == 0 ? 2 : 5));
    }
    deliver($taken[0]{pdu}, esm_class => 0x40, protocol_id => 0x7f, data_coding => 0xf6,
        short_message => pack('H*', $_)) for @bodies;
    my $sequence = $session->enquire_link or die 'enquire_link';
    $asked{$sequence} = Net::SMPP::CMD_enquire_link;
}

sub submitted {
    my ($pdu) = @_;
    my $id = 'p' . (@taken + 1);
    push @taken, { id => $id, pdu => $pdu };
    tell_event('submit_sm', id => $id, source => $pdu->{source_addr}, dest => $pdu->{destination_addr},
        map({ $_ => $pdu->{$_} } qw(esm_class protocol_id data_coding registered_delivery)),
        hex => unpack('H*', $pdu->{short_message}));
    $session->submit_sm_resp(seq => $pdu->{seq}, message_id => $id) or die 'submit_sm_resp';
    answer() if @taken == $expected;
}

# A response must be to what was asked, and carry no message_id: in a
# deliver_sm_resp it is unused, and empty.
sub responded {
    my ($pdu, $name) = @_;
    my $asked = delete $asked{$pdu->{seq}};
    my $expected = defined $asked && $pdu->{cmd} == ($asked | 0x80000000) && !length($pdu->{message_id} // '');
    tell_event($name, status => $pdu->{status}, expected => $expected ? JSON::PP::true : JSON::PP::false);
}

my %handle = (
    Net::SMPP::CMD_bind_transceiver() => sub {
        my ($pdu) = @_;
        my $ok = $pdu->{system_id} eq $system_id && $pdu->{password} eq $password;
        $session->bind_transceiver_resp(seq => $pdu->{seq}, status => $ok ? 0 : 0x0e, system_id => 'perl');
    },
    Net::SMPP::CMD_submit_sm()         => \&submitted,
    Net::SMPP::CMD_deliver_sm_resp()   => sub { responded($_[0], 'deliver_sm_resp') },
    Net::SMPP::CMD_enquire_link_resp() => sub { responded($_[0], 'enquire_link_resp') },
    Net::SMPP::CMD_enquire_link()      => sub { $session->enquire_link_resp(seq => $_[0]{seq}) },
    Net::SMPP::CMD_unbind()            => sub {
        tell_event('unbind');
        $session->unbind_resp(seq => $_[0]{seq});
        exit 0;
    },
);

while (my $pdu = $session->read_pdu) {
    my $handler = $handle{ $pdu->{cmd} } or die sprintf 'command %08x', $pdu->{cmd};
    $handler->($pdu);
}
die 'the connection ended without unbind';
