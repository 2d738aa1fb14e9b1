use tokio::io::{AsyncRead, AsyncReadExt};

/// A head, with its empty line; `None` where the connection ends before.
pub async fn head(socket: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

pub fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    fields.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

pub fn is_chunked(head: &str) -> bool {
    field(head, "transfer-encoding").is_some_and(|coding| coding.contains("chunked"))
}

/// The body that belongs to this head: `Ok` where it is whole. Without length and chunks it ends with the connection,
/// if `till_close` says so.
pub async fn body(
    socket: &mut (impl AsyncRead + Unpin),
    head: &str,
    till_close: bool,
) -> Result<Vec<u8>, Vec<u8>> {
    let mut body = Vec::new();
    if is_chunked(head) {
        loop {
            let Some(line) = line(socket).await else { return Err(body) };
            let size = usize::from_str_radix(line.split(';').next().unwrap(), 16).unwrap();
            if size == 0 {
                break;
            }
            let before = body.len();
            body.resize(before + size, 0);
            if let Err(got) = fill(socket, &mut body[before..]).await {
                body.truncate(before + got);
                return Err(body);
            }
            if line_end(socket).await.is_none() {
                return Err(body);
            }
        }
        // Trailers.
        loop {
            match line(socket).await {
                None => return Err(body),
                Some(line) if line.is_empty() => return Ok(body),
                Some(_) => {}
            }
        }
    }
    if let Some(length) = field(head, "content-length") {
        body.resize(length.parse().unwrap(), 0);
        return match fill(socket, &mut body).await {
            Ok(()) => Ok(body),
            Err(got) => {
                body.truncate(got);
                Err(body)
            }
        };
    }
    if till_close && socket.read_to_end(&mut body).await.is_err() {
        return Err(body);
    }
    Ok(body)
}

async fn fill(socket: &mut (impl AsyncRead + Unpin), into: &mut [u8]) -> Result<(), usize> {
    let mut have = 0;
    while have < into.len() {
        match socket.read(&mut into[have..]).await {
            Ok(count) if count > 0 => have += count,
            _ => return Err(have),
        }
    }
    Ok(())
}

async fn line(socket: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(socket.read_u8().await.ok()?);
    }
    line.truncate(line.len() - 2);
    Some(String::from_utf8(line).unwrap())
}

async fn line_end(socket: &mut (impl AsyncRead + Unpin)) -> Option<()> {
    let mut end = [0; 2];
    socket.read_exact(&mut end).await.ok()?;
    assert_eq!(&end, b"\r\n");
    Some(())
}
