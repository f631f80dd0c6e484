// The peers in Rust: echo servers on tokio (current_thread) and smol, and the executor benchmarks on tokio.
//
//   peers tokio | smol            prints `port N` and serves
//   peers proxy PORT              prints `port N` and connects each client to 127.0.0.1:PORT
//   peers micro                   the protocol of answer.mjs

use std::future::Future;
use std::io::{stdin, stdout, BufRead, Write};
use std::pin::Pin;
use std::time::{Duration, Instant};

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("tokio") => runtime().block_on(tokio_echo()),
        Some("proxy") => runtime().block_on(tokio_proxy()),
        Some("smol") => smol_echo(),
        Some("micro") => answer(),
        _ => std::process::exit(2),
    }
}

/// The size of a connection's buffer in bytes: SMALL until a read fills it, then LARGE.
const SMALL: usize = 512;
const LARGE: usize = 64 * 1024;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

async fn tokio_echo() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = listener();
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { continue };
        tokio::spawn(async move {
            stream.set_nodelay(true).unwrap();
            let mut buffer = vec![0; SMALL];
            while let Ok(count) = stream.read(&mut buffer).await {
                if count == 0 || stream.write_all(&buffer[..count]).await.is_err() {
                    break;
                }
                if count == SMALL {
                    buffer = vec![0; LARGE];
                }
            }
        });
    }
}

async fn tokio_proxy() {
    let upstream: u16 = std::env::args().nth(2).unwrap().parse().unwrap();
    let listener = listener();
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    loop {
        let Ok((mut client, _)) = listener.accept().await else { continue };
        tokio::spawn(async move {
            let Ok(mut server) = tokio::net::TcpStream::connect(("127.0.0.1", upstream)).await else { return };
            client.set_nodelay(true).unwrap();
            server.set_nodelay(true).unwrap();
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        });
    }
}

fn smol_echo() {
    use smol::io::{AsyncReadExt, AsyncWriteExt};
    let executor = smol::LocalExecutor::new();
    smol::block_on(executor.run(async {
        let listener = smol::net::TcpListener::try_from(listener()).unwrap();
        loop {
            let Ok((mut stream, _)) = listener.accept().await else { continue };
            executor
                .spawn(async move {
                    stream.set_nodelay(true).unwrap();
                    let mut buffer = vec![0; SMALL];
                    while let Ok(count) = stream.read(&mut buffer).await {
                        if count == 0 || stream.write_all(&buffer[..count]).await.is_err() {
                            break;
                        }
                        if count == SMALL {
                            buffer = vec![0; LARGE];
                        }
                    }
                })
                .detach();
        }
    }));
}

fn listener() -> std::net::TcpListener {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    println!("port {}", listener.local_addr().unwrap().port());
    listener
}

/// Reads lines `name count` and prints one number for each: nanoseconds or bytes; NaN if the work is not supported.
fn answer() {
    let runtime = runtime();
    for line in stdin().lock().lines() {
        let line = line.unwrap();
        let (name, count) = line.split_once(' ').unwrap();
        let count: usize = count.parse().unwrap();
        let result = runtime.block_on(async {
            // In a task, because block_on polls its own future outside the scheduler.
            let name = name.to_string();
            tokio::spawn(async move { perform(&name, count).await }).await.unwrap()
        });
        println!("{result}");
        stdout().flush().unwrap();
    }
}

async fn perform(name: &str, count: usize) -> f64 {
    let start = Instant::now();
    match name {
        "yield" => {
            for _ in 0..count {
                tokio::task::yield_now().await;
            }
        }
        "spawn" => {
            for _ in 0..count {
                tokio::spawn(async { 1 }).await.unwrap();
            }
        }
        "ping-pong" => ping_pong(count).await,
        "join" => {
            for _ in 0..count / 10_000 {
                let mut set = tokio::task::JoinSet::new();
                for _ in 0..10_000 {
                    set.spawn(tokio::task::yield_now());
                }
                while set.join_next().await.is_some() {}
            }
        }
        "deep" => {
            for _ in 0..count {
                deep(10).await;
            }
        }
        "sleeps" => {
            let end = start + Duration::from_millis(SLEEPS_MS);
            let mut set = tokio::task::JoinSet::new();
            for index in 0..count {
                set.spawn(tokio::time::sleep(Duration::from_millis(sleep_ms(index))));
            }
            while set.join_next().await.is_some() {}
            return Instant::now().duration_since(end).as_nanos() as f64;
        }
        "cancel" => {
            for _ in 0..count {
                let mut sleep = Box::pin(tokio::time::sleep(Duration::from_secs(1)));
                std::future::poll_fn(|cx| {
                    assert!(sleep.as_mut().poll(cx).is_pending());
                    std::task::Poll::Ready(())
                })
                .await;
            }
        }
        "p50" | "p99" => {
            let mut late = Vec::new();
            for _ in 0..count {
                let due = Instant::now() + Duration::from_millis(1);
                tokio::time::sleep_until(due.into()).await;
                late.push(due.elapsed().as_nanos() as f64);
            }
            late.sort_by(f64::total_cmp);
            return late[count * if name == "p50" { 50 } else { 99 } / 100];
        }
        "losers" => {
            for _ in 0..count {
                tokio::select! {
                    _ = tokio::time::sleep(Duration::from_secs(1)) => {}
                    _ = tokio::task::yield_now() => {}
                }
            }
        }
        "task-bytes" => {
            let before = resident();
            for _ in 0..count {
                tokio::spawn(std::future::pending::<()>());
            }
            tokio::task::yield_now().await;
            return (resident() - before) / count as f64;
        }
        "sleep-bytes" => {
            let before = resident();
            for _ in 0..count {
                tokio::spawn(tokio::time::sleep(Duration::from_secs(1000)));
            }
            for _ in 0..count / 50 {
                tokio::task::yield_now().await; // until all have been polled
            }
            return (resident() - before) / count as f64;
        }
        _ => return f64::NAN,
    }
    start.elapsed().as_nanos() as f64
}

const SLEEPS_MS: u64 = 1000;

/// The duration of the sleep `index`, in ms: between 901 and SLEEPS_MS, evenly spread.
fn sleep_ms(index: usize) -> u64 {
    SLEEPS_MS - (index as u64 * 7919) % 100
}

async fn ping_pong(count: usize) {
    let (there, mut from_there) = tokio::sync::mpsc::channel(1);
    let (back, mut from_back) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        while let Some(value) = from_there.recv().await {
            back.send(value).await.unwrap();
        }
    });
    for value in 0..count {
        there.send(value).await.unwrap();
        from_back.recv().await.unwrap();
    }
}

fn deep(depth: usize) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        if depth == 0 {
            tokio::task::yield_now().await;
        } else {
            deep(depth - 1).await;
        }
    })
}

fn resident() -> f64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<f64>().unwrap() * 4096.0
}
