//! A camera for one test, which answers each request by a function: for what cameras do in the conversation itself.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use url::Url;

use super::peer::{h264, rtp};

/// A request, as it came.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) url: String,
    headers: HashMap<String, String>,
}

impl Asked {
    /// By its name in lower case; empty where there is none.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The head of an answer, without the blank line at its end.
    pub(super) fn head(&self, status: &str) -> String {
        format!("RTSP/1.0 {status}\r\nCSeq: {}\r\n", self.header("cseq"))
    }
}

/// What the camera does with a request.
#[derive(Clone, Debug, Default)]
pub(super) struct Reaction {
    pub(super) bytes: Vec<u8>,
    pub(super) close: bool,
}

impl<T: Into<Vec<u8>>> From<T> for Reaction {
    fn from(bytes: T) -> Self {
        Self { bytes: bytes.into(), close: false }
    }
}

impl Reaction {
    pub(super) fn nothing() -> Self {
        Self::default()
    }

    pub(super) fn then_close(mut self) -> Self {
        self.close = true;
        self
    }
}

#[derive(Clone)]
pub(super) struct Camera {
    pub(super) url: Url,
    asked: Arc<Mutex<Vec<Asked>>>,
    news: Arc<Notify>,
    connections: Arc<AtomicUsize>,
}

type React = dyn Fn(&Asked) -> Reaction + Send + Sync;

impl Camera {
    /// A camera at some port of 127.0.0.1.
    pub(super) async fn start(react: impl Fn(&Asked) -> Reaction + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("rtsp://{}/live", listener.local_addr().expect("bound"));
        let camera = Self {
            url: url.parse().expect("a url"),
            asked: Arc::default(),
            news: Arc::default(),
            connections: Arc::default(),
        };
        let (serving, react): (_, Arc<React>) = (camera.clone(), Arc::new(react));
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                serving.connections.fetch_add(1, Ordering::SeqCst);
                let (serving, react) = (serving.clone(), react.clone());
                // Failing to write only means that the client has gone.
                tokio::spawn(async move { serving.serve(connection, &*react).await.unwrap_or_default() });
            }
        });
        camera
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no test panics with it").clone()
    }

    /// What was asked for so far: methods.
    pub(super) fn methods(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.method).collect()
    }

    /// Waits until what was asked fulfils a condition.
    pub(super) async fn until(&self, condition: impl Fn(&[Asked]) -> bool) {
        loop {
            let news = self.news.notified();
            if condition(&self.asked()) {
                return;
            }
            news.await;
        }
    }

    async fn serve(&self, connection: TcpStream, react: &React) -> std::io::Result<()> {
        let (reader, mut writer) = connection.into_split();
        let mut reader = BufReader::new(reader);
        loop {
            let Some(asked) = request(&mut reader).await? else { return Ok(()) };
            self.asked.lock().expect("no test panics with it").push(asked.clone());
            self.news.notify_waiters();
            let reaction = react(&asked);
            writer.write_all(&reaction.bytes).await?;
            if reaction.close {
                return Ok(());
            }
        }
    }
}

/// The next request; packets and answers of the client's are passed over.
pub(super) async fn request(reader: &mut BufReader<tokio::net::tcp::OwnedReadHalf>) -> std::io::Result<Option<Asked>> {
    loop {
        match reader.fill_buf().await?.first() {
            None => return Ok(None),
            Some(b'$') => {
                let mut head = [0; 4];
                reader.read_exact(&mut head).await?;
                let mut packet = vec![0; usize::from(u16::from_be_bytes([head[2], head[3]]))];
                reader.read_exact(&mut packet).await?;
                continue;
            }
            Some(_) => {}
        }
        let (mut first, mut headers) = (String::new(), HashMap::new());
        reader.read_line(&mut first).await?;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).await? == 0 || line.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':') {
                headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
            }
        }
        let mut words = first.split_ascii_whitespace().map(str::to_owned);
        let (method, url) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if !method.starts_with("RTSP/") {
            return Ok(Some(Asked { method, url, headers }));
        }
    }
}

/// An IDR picture.
pub(super) const IDR: &[u8] = &[0x65, 0x88, 1, 2, 3];

/// A description of H.264 with its parameter sets.
pub(super) fn sdp() -> String {
    format!("v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=x\r\nt=0 0\r\n{}", h264())
}

/// How a camera answers that does as the standards say: it sends one picture after PLAY.
pub(super) fn regular(asked: &Asked) -> Reaction {
    regular_with(asked, &sdp())
}

/// The same, with this description.
pub(super) fn regular_with(asked: &Asked, sdp: &str) -> Reaction {
    let head = asked.head("200 OK");
    match asked.method.as_str() {
        "DESCRIBE" => {
            let kind = "Content-Type: application/sdp";
            format!("{head}{kind}\r\nContent-Length: {}\r\n\r\n{sdp}", sdp.len()).into()
        }
        "SETUP" => {
            let transport = asked.header("transport");
            format!("{head}Session: 1;timeout=60\r\nTransport: {transport};ssrc=00000007\r\n\r\n").into()
        }
        "OPTIONS" => format!("{head}Public: DESCRIBE, SETUP, PLAY, GET_PARAMETER, TEARDOWN\r\n\r\n").into(),
        "PLAY" => [format!("{head}Session: 1\r\n\r\n").into_bytes(), rtp(1, 0, true, IDR)].concat().into(),
        _ => format!("{head}Session: 1\r\n\r\n").into(),
    }
}
