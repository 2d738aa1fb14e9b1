//! PROXY protocol: the header with which a load balancer begins a connection to name its client (HAProxy, "The PROXY
//! protocol", versions 1 and 2).

use std::io;
use std::net::IpAddr;

use ppp::{HeaderResult, PartialResult, v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::net::client_address::ClientAddress;

/// The signature of version 2. It is shorter than any header of version 1, so this many bytes can be read for either
/// version.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes after the signature of version 2: version, command, family and length.
const FIXED: usize = 4;
/// The most bytes after these in version 2. Addresses and extensions (TLS names, network ids) take a few hundred.
const MOST: usize = 4096;
/// The most bytes of version 1.
const LINE: usize = 107;

/// Reads the header and nothing after it. `None`: the balancer connects on its own behalf, as for a health check.
///
/// A header without an IP address (`UNKNOWN`, unspecified, a Unix socket) gives [`ClientAddress::Unknown`].
///
/// # Errors
/// The connection does not begin with a complete header.
pub(crate) async fn read<S: AsyncRead + Unpin>(socket: &mut S) -> io::Result<Option<ClientAddress>> {
    let mut header = vec![0; SIGNATURE.len()];
    socket.read_exact(&mut header).await?;
    if header == SIGNATURE {
        more(socket, &mut header, FIXED).await?;
        let length = header.last_chunk().map_or(0, |length| usize::from(u16::from_be_bytes(*length)));
        if length > MOST {
            return Err(malformed("it is longer than 4 KiB"));
        }
        more(socket, &mut header, length).await?;
    } else {
        // Byte by byte, since bytes after the line must not be read here; a line has a few dozen bytes.
        while header.starts_with(b"PROXY ") && header.len() < LINE && !header.ends_with(b"\n") {
            more(socket, &mut header, 1).await?;
        }
    }
    match HeaderResult::parse(&header) {
        parsed if parsed.is_incomplete() => Err(malformed("it is incomplete")),
        HeaderResult::V1(parsed) => parsed
            .map(|header| Some(of_text(&header.addresses)))
            .map_err(|error| malformed(&error.to_string())),
        HeaderResult::V2(parsed) => parsed
            .map(|header| (header.command == v2::Command::Proxy).then(|| of_binary(&header.addresses)))
            .map_err(|error| malformed(&error.to_string())),
    }
}

async fn more<S: AsyncRead + Unpin>(socket: &mut S, header: &mut Vec<u8>, count: usize) -> io::Result<()> {
    let begin = header.len();
    header.resize(begin + count, 0);
    socket.read_exact(header.get_mut(begin..).unwrap_or_default()).await.map(drop)
}

fn malformed(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

fn of_text(addresses: &v1::Addresses) -> ClientAddress {
    match addresses {
        v1::Addresses::Tcp4(ip) => IpAddr::V4(ip.source_address).into(),
        v1::Addresses::Tcp6(ip) => IpAddr::V6(ip.source_address).into(),
        v1::Addresses::Unknown => ClientAddress::Unknown,
    }
}

fn of_binary(addresses: &v2::Addresses) -> ClientAddress {
    match addresses {
        v2::Addresses::IPv4(ip) => IpAddr::V4(ip.source_address).into(),
        v2::Addresses::IPv6(ip) => IpAddr::V6(ip.source_address).into(),
        v2::Addresses::Unspecified | v2::Addresses::Unix(_) => ClientAddress::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The address that is read, and the bytes left in the stream.
    fn of(bytes: &[u8]) -> Result<(String, Vec<u8>), String> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut rest = bytes;
        let read = runtime.block_on(read(&mut rest)).map_err(|error| error.to_string())?;
        Ok((read.map_or("itself".to_owned(), |client| client.to_string()), rest.to_vec()))
    }

    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE.as_slice(), &[command, family], &length, rest].concat()
    }

    #[test]
    fn the_header_is_read_and_nothing_after_it() {
        let v4 = [203, 0, 113, 9, 10, 0, 0, 1, 1, 2, 3, 4];
        let v6: Vec<u8> = ["2001:db8::1", "::1"]
            .iter()
            .flat_map(|text| text.parse::<std::net::Ipv6Addr>().unwrap().octets())
            .chain([1, 2, 3, 4])
            .collect();
        for (header, want) in [
            (b"PROXY TCP4 203.0.113.9 10.0.0.1 51234 8080\r\n".to_vec(), "203.0.113.9"),
            (b"PROXY TCP6 2001:db8::1 ::1 51234 8080\r\n".to_vec(), "2001:db8::1"),
            (b"PROXY TCP6 ::ffff:203.0.113.9 ::1 51234 8080\r\n".to_vec(), "203.0.113.9"),
            (b"PROXY UNKNOWN\r\n".to_vec(), "unknown"),
            (b"PROXY UNKNOWN ::1 ::1 1 2\r\n".to_vec(), "unknown"),
            (binary(0x21, 0x11, &v4), "203.0.113.9"),
            // With an extension after the addresses.
            (binary(0x21, 0x11, &[&v4[..], &[0xea, 0, 2, b'a', b'b']].concat()), "203.0.113.9"),
            (binary(0x21, 0x21, &v6), "2001:db8::1"),
            (binary(0x20, 0, &[]), "itself"),
            (binary(0x20, 0x11, &v4), "itself"),
            (binary(0x21, 0, &[]), "unknown"),
            (binary(0x21, 0x31, &[b'a'; 216]), "unknown"),
        ] {
            let bytes = [&header[..], b"GET / HTTP/1.1\r\n"].concat();
            let read = of(&bytes);
            assert_eq!(read, Ok((want.to_owned(), b"GET / HTTP/1.1\r\n".to_vec())), "{header:?}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let long = binary(0x21, 0x11, &[0; 5000]);
        for bytes in [
            &b""[..],
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"PROXY TCP4 203.0.113.9 10.0.0.1 51234 8080\n\n",
            b"PROXY TCP4 203.0.113.9 10.0.0.1 51234",
            b"PROXY TCP4 2001:db8::1 ::1 1 2\r\n",
            b"PROXY TCP4 203.0.113.9 10.0.0.1 51234 99999\r\n",
            b"PROXY UDP4 203.0.113.9 10.0.0.1 1 2\r\n",
            b"proxy TCP4 203.0.113.9 10.0.0.1 1 2\r\n",
            b"PROXY TCP4 xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n",
            &binary(0x31, 0x11, &[0; 12]),
            &binary(0x22, 0x11, &[0; 12]),
            &binary(0x21, 0x11, &[0; 11]),
            &binary(0x21, 0x11, &[0; 12])[..20],
            &long,
        ] {
            assert!(of(bytes).is_err(), "{bytes:?}");
        }
    }
}
