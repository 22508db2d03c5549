import com.github.kagkarlsson.scheduler.Scheduler;
import com.github.kagkarlsson.scheduler.SchedulerBuilder;
import com.github.kagkarlsson.scheduler.SchedulerClient;
import com.github.kagkarlsson.scheduler.SchedulerName;
import com.github.kagkarlsson.scheduler.task.SchedulableInstance;
import com.github.kagkarlsson.scheduler.task.TaskDescriptor;
import com.github.kagkarlsson.scheduler.task.helper.OneTimeTask;
import com.github.kagkarlsson.scheduler.task.helper.Tasks;
import com.zaxxer.hikari.HikariDataSource;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;

/** db-scheduler: one-time tasks in its one table; an execution that ends is deleted. */
public final class DbScheduler {
  private static final int CHUNK = 1000;
  private static final int HIKARI_DEFAULT = 10;
  private static final int CONNECTIONS = 90; // two workers of it fit into the benchmark's PostgreSQL
  private static final TaskDescriptor<Long> NOTHING = TaskDescriptor.of("nothing", Long.class);

  // Its jar brings no schema; these are the columns, types and indexes that its documentation asks for on PostgreSQL.
  private static final String TABLES =
      """
      CREATE TABLE scheduled_tasks (
          task_name text NOT NULL, task_instance text NOT NULL, task_data bytea,
          execution_time timestamptz NOT NULL, picked boolean NOT NULL, picked_by text,
          last_success timestamptz, last_failure timestamptz, consecutive_failures integer,
          last_heartbeat timestamptz, version bigint NOT NULL, priority smallint,
          PRIMARY KEY (task_name, task_instance));
      CREATE INDEX execution_time_idx ON scheduled_tasks (execution_time);
      CREATE INDEX last_heartbeat_idx ON scheduled_tasks (last_heartbeat);
      CREATE INDEX priority_execution_time_idx ON scheduled_tasks (priority DESC, execution_time);
      """;

  public static void main(String[] words) throws Exception {
    Command command = new Command(words);
    switch (command.verb) {
      case "create" -> command.create(TABLES);
      case "insert" -> insert(command);
      case "work" -> work(command);
      default -> throw new IllegalArgumentException(command.verb);
    }
  }

  private static void insert(Command command) {
    OneTimeTask<Long> task = Tasks.oneTime(NOTHING).execute((instance, context) -> {});
    try (HikariDataSource pool = command.pool(1)) {
      SchedulerClient client = SchedulerClient.Builder.create(pool, task).build();
      String run = Long.toString(System.nanoTime(), 36);
      List<SchedulableInstance<?>> chunk = new ArrayList<>();
      for (int i = 0; i < command.count(); i++) {
        long due = command.due(i);
        chunk.add(NOTHING.instance(run + "-" + i).data(due).scheduledTo(Instant.ofEpochMilli(due)));
        if (chunk.size() == CHUNK || i == command.count() - 1) {
          client.scheduleBatch(chunk);
          chunk = new ArrayList<>();
        }
      }
    }
  }

  private static void work(Command command) throws InterruptedException {
    OneTimeTask<Long> task =
        Tasks.oneTime(NOTHING).execute((instance, context) -> command.started(instance.getData()));
    int threads = (int) command.setting("--threads", 100);
    HikariDataSource pool = command.pool(command.isBest() ? CONNECTIONS : HIKARI_DEFAULT);
    command.writeHistoryThrough(() -> pool);
    String name = "worker-" + ProcessHandle.current().pid(); // two on one host must not share the default, its name
    SchedulerBuilder builder = Scheduler.create(pool, task).schedulerName(new SchedulerName.Fixed(name));
    if (command.isBest()) {
      builder
          .threads(threads)
          .pollUsingLockAndFetch(command.setting("--lower", 2), command.setting("--upper", 6))
          .pollingInterval(Duration.ofMillis((long) command.setting("--poll", 1)));
    }
    Scheduler scheduler = builder.build();
    scheduler.start();
    command.workUntilTerminated(scheduler::stop);
  }
}
