import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.*;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.*;
import org.apache.kafka.common.utils.Exit;

/**
 * Runs Kafka's command-line tools one after the other in this JVM, for a start of a JVM takes longer than most of
 * them. A line of JSON asks for one (main, args, text for its input); a line of JSON tells its exit code and what it
 * printed.
 */
public final class Tools {
    static final class Ended extends Error {
        Ended(String message) {
            super(message, null, false, false);
        }
    }

    public static void main(String[] none) throws Exception {
        PrintStream answers = System.out;
        InputStream questions = System.in;
        ObjectMapper json = new ObjectMapper();
        BufferedReader lines = new BufferedReader(new InputStreamReader(questions, StandardCharsets.UTF_8));
        // The first code counts: a tool may catch what ends it, and end again.
        int[] first = new int[1];
        boolean[] ended = new boolean[1];
        Exit.Procedure end = (code, message) -> {
            if (!ended[0]) first[0] = code;
            ended[0] = true;
            throw new Ended(message);
        };
        Exit.setExitProcedure(end);
        Exit.setHaltProcedure(end);
        List<Runnable> hooks = new ArrayList<>();
        Exit.setShutdownHookAdder((name, hook) -> hooks.add(hook));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            JsonNode asked = json.readTree(line);
            List<String> args = new ArrayList<>();
            asked.get("args").forEach(arg -> args.add(arg.asText()));
            ByteArrayOutputStream bytes = new ByteArrayOutputStream();
            PrintStream output = new PrintStream(bytes, true, StandardCharsets.UTF_8);
            System.setOut(output);
            System.setErr(output);
            System.setIn(new ByteArrayInputStream(asked.get("text").asText().getBytes(StandardCharsets.UTF_8)));
            int code = 0;
            ended[0] = false;
            try {
                Class.forName(asked.get("main").asText()).getMethod("main", String[].class)
                        .invoke(null, (Object) args.toArray(String[]::new));
            } catch (InvocationTargetException thrown) {
                if (thrown.getCause() instanceof Ended) {
                    if (thrown.getCause().getMessage() != null) output.println(thrown.getCause().getMessage());
                } else {
                    code = 1;
                    thrown.getCause().printStackTrace(output);
                }
            }
            if (ended[0]) code = first[0];
            // What a tool does when its JVM ends.
            for (Runnable hook : List.copyOf(hooks)) {
                try {
                    hook.run();
                } catch (Ended again) {
                    // It has ended already.
                }
            }
            hooks.clear();
            output.flush();
            answers.println(json.writeValueAsString(Map.of("code", code, "output", bytes.toString(StandardCharsets.UTF_8))));
            answers.flush();
        }
    }
}
