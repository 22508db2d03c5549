import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Timestamp;
import java.time.Instant;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.function.Supplier;
import javax.sql.DataSource;

/** What the programs of the Java peers have in common: their command line, their pool, and what is kept of starts. */
final class Command {
  final String verb;
  private final URI url;
  private final Map<String, String> options = new HashMap<>();
  private final Queue<double[]> starts = new ConcurrentLinkedQueue<>();
  private DataSource history;

  /** Reads VERB URL and options; a flag has no value. IllegalArgumentException where VERB or URL is missing. */
  Command(String[] words) {
    if (words.length < 2) {
      throw new IllegalArgumentException("usage: create|insert|work URL [--name value]");
    }
    verb = words[0];
    url = URI.create(words[1]);
    for (int i = 2; i < words.length; i++) {
      boolean hasValue = i + 1 < words.length && !words[i + 1].startsWith("--");
      options.put(words[i], hasValue ? words[++i] : "");
    }
  }

  /** Has each start written to the history, through these connections, where that is asked for. */
  void writeHistoryThrough(Supplier<DataSource> connections) {
    if (options.containsKey("--history")) {
      history = connections.get();
    }
  }

  boolean isBest() {
    return !"default".equals(options.get("--mode"));
  }

  int count() {
    return Integer.parseInt(options.get("--count"));
  }

  /** Returns when the i-th job is due, in milliseconds since 1970. */
  long due(int i) {
    long first = number("--due", 0);
    return first == 0 ? System.currentTimeMillis() : first + i * number("--spread", 0) / count();
  }

  /** Returns an option's number, or what holds without it: settings of mode best can be tried with others. */
  double setting(String name, double otherwise) {
    return options.containsKey(name) ? Double.parseDouble(options.get(name)) : otherwise;
  }

  private long number(String name, long otherwise) {
    return options.containsKey(name) ? Long.parseLong(options.get(name)) : otherwise;
  }

  String jdbcUrl() {
    return "jdbc:postgresql://" + url.getHost() + ":" + url.getPort() + url.getPath();
  }

  String user() {
    return url.getUserInfo().split(":", 2)[0];
  }

  String password() {
    return url.getUserInfo().split(":", 2)[1];
  }

  /** Returns a pool of at most so many connections, otherwise as HikariCP has it. */
  HikariDataSource pool(int connections) {
    HikariConfig config = new HikariConfig();
    config.setJdbcUrl(jdbcUrl());
    config.setUsername(user());
    config.setPassword(password());
    config.setMaximumPoolSize(connections);
    return new HikariDataSource(config);
  }

  /** Makes the peer's tables, and the one for the history that the peer does not keep. */
  void create(String tables) throws SQLException {
    try (HikariDataSource pool = pool(1);
        Connection connection = pool.getConnection();
        Statement statement = connection.createStatement()) {
      statement.execute(tables);
      statement.execute(
          "CREATE TABLE bench_history (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, due_at timestamptz NOT NULL,"
              + " started_at timestamptz NOT NULL, finished_at timestamptz NOT NULL DEFAULT clock_timestamp())");
    }
  }

  /** All that a job does: it is noted that it started, and written where history is asked for. */
  void started(long due) {
    Instant now = Instant.now();
    if (options.containsKey("--record")) {
      starts.add(new double[] {due, now.getEpochSecond() * 1e3 + now.getNano() / 1e6});
    }
    if (history != null) {
      write(due, now);
    }
  }

  private void write(long due, Instant now) {
    try (Connection connection = history.getConnection();
        PreparedStatement insert =
            connection.prepareStatement("INSERT INTO bench_history (due_at, started_at) VALUES (?, ?)")) {
      insert.setTimestamp(1, new Timestamp(due));
      insert.setTimestamp(2, Timestamp.from(now));
      insert.executeUpdate();
    } catch (SQLException e) {
      throw new IllegalStateException(e);
    }
  }

  /** Says that work has begun; SIGTERM stops it in the peer's own way, then writes what was noted. */
  void workUntilTerminated(Runnable stop) throws InterruptedException {
    Runtime.getRuntime().addShutdownHook(new Thread(() -> end(stop)));
    System.out.println("ready");
    System.out.flush();
    Thread.currentThread().join();
  }

  private void end(Runnable stop) {
    int code = 1;
    try {
      stop.run();
      if (options.containsKey("--record")) {
        List<String> lines = starts.stream().map(each -> String.format("%.0f,%.3f", each[0], each[1])).toList();
        Files.write(Path.of(options.get("--record")), lines);
      }
      code = 0;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    } finally {
      Runtime.getRuntime().halt(code); // the JVM's own code of a SIGTERM, 143, would look like a failure
    }
  }
}
