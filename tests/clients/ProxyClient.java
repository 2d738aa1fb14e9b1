// Fetches URLs as Java programs that know nothing of boxgate do: boxgate exec -- java ProxyClient.java URL…
//
// For each URL two lines with the body: by java.net.HttpURLConnection, and by java.net.http.HttpClient. Proxy and trust
// store come from JAVA_TOOL_OPTIONS alone.

import java.net.HttpURLConnection;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

public class ProxyClient {
    public static void main(String[] urls) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        for (String url : urls) {
            HttpURLConnection connection = (HttpURLConnection) URI.create(url).toURL().openConnection();
            System.out.println("HttpURLConnection: " + new String(connection.getInputStream().readAllBytes()));
            HttpRequest request = HttpRequest.newBuilder(URI.create(url)).build();
            String body = client.send(request, HttpResponse.BodyHandlers.ofString()).body();
            System.out.println("HttpClient: " + body);
        }
    }
}
